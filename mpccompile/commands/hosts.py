"""One process of a run over several machines, as a command."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

# torch writes about every attempt to connect that fails; mpccompile tells of the last.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")

import torch

from mpccompile.codegen import package as packages
from mpccompile.commands import files
from mpccompile.errors import OptionError
from mpccompile.private import PrivateModel
from mpccompile.report.profile import Profile
from mpccompile.runtime import hosts, sealed
from mpccompile.runtime.addresses import Address
from mpccompile.runtime.hosts import Meeting

if TYPE_CHECKING:
    from torch import Tensor

    from mpccompile.codegen.package import Package

Update = Callable[[str], None]


@dataclass(frozen=True)
class Lines:
    """How a process reaches the others, as given on the command line.

    Attributes:
        dealer: Where the dealer listens.
        key_file: The key that all three have.
        wait_seconds: How long to wait for the others.
    """

    dealer: str
    key_file: Path | None
    wait_seconds: float

    def meeting(self, *others: Address, update: Update) -> Meeting:
        """Read the key, which may be left out only where nobody else can connect.

        Raises:
            OptionError: If it has to be there.
        """
        dealer = Address.parse(self.dealer)
        if self.key_file is None and not all(address.is_loopback() for address in (dealer, *others)):
            raise OptionError(
                "a run over several machines needs a key file", hint="Make one with: mpccompile key FILE."
            )
        key = b"" if self.key_file is None else sealed.read_key(self.key_file)
        if dealer.is_loopback():
            # All three are on this machine, and threads that fight for cores are slower than none.
            torch.set_num_threads(max(1, torch.get_num_threads() // 3))
        return Meeting(dealer, key, self.wait_seconds, update)


def run_dealer(folder: Path, lines: Lines, update: Update) -> None:
    """Deal one run of the package in ``folder``."""
    meeting = lines.meeting(update=update)
    package = _package(folder, "dealer")
    hosts.deal(folder, meeting, package.options.device)


def run_party(
    rank: int, folder: Path, lines: Lines, peer: str, arrays: Path | None, output: Path | None, update: Update
) -> tuple[dict[str, Tensor], Profile]:
    """Run one party; party 1 writes the outputs, if that is asked for, and returns them by name."""
    address = Address.parse(peer)
    meeting = lines.meeting(address, update=update)
    package = _package(folder, str(rank))
    files.check_writable(output)
    inputs = {} if arrays is None else files.read_inputs(arrays, package)
    if rank == 1:
        # Wrong inputs are told before the others are kept busy.
        PrivateModel.from_package(package).compile_for(inputs)
    flat, report = hosts.take_part(rank, folder, meeting, address, inputs, package.options.device)
    outputs = dict(zip(package.output.keys, flat, strict=True)) if rank == 1 else {}
    if output is not None:
        files.write_arrays(output, outputs)
    return outputs, Profile.of(package, report)


def _package(folder: Path, role: str) -> Package:
    package = packages.read(folder, packages.FILES_BY_ROLE[role])
    if package.options.target != "mpccompile":
        raise OptionError(
            f"this package is for target={package.options.target!r}, which runs on one machine only",
            hint="Compile for target='mpccompile'.",
        )
    return package
