"""Generation as a folder: one program, or three, two of which have folders of their own in that of the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mpccompile.capture.cached import HIDDEN
from mpccompile.codegen import package as packages
from mpccompile.generation.closed_reader import ClosedReader
from mpccompile.generation.reader import Reader

if TYPE_CHECKING:
    from torch import Tensor

    from mpccompile.codegen.package import Package

AnyReader = Reader | ClosedReader
STEP, END = "step", "end"
"""Where what goes on by one token, and what tells of the text, stand beside what reads a token of the prompt."""


def write(programs: Mapping[str, Package], folder: Path) -> None:
    """Write the programs of a generation, each to its folder.

    Raises:
        PackageError: If that cannot be done.
    """
    for name, package in programs.items():
        packages.copy(package, folder / name)


def reader_of(package: Package, run: Callable[[Package, dict[str, Tensor], int], list[Tensor]]) -> AnyReader:
    """Return what continues prompts with a package, and with those in its folder.

    Raises:
        MpcCompileError: If the package reads no token.
        PackageError: If one in its folder is missing or damaged.
    """
    if HIDDEN not in dict(package.output.resident):
        return Reader(package, run)
    step, end = (packages.read(package.folder / name) for name in (STEP, END))
    return ClosedReader(package, step, end, run)
