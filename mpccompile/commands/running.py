"""Running a package a few times, for the commands that do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.status import Status
    from torch import Tensor

    from mpccompile.codegen.package import Package
    from mpccompile.private import PrivateModel
    from mpccompile.report.profile import Profile


def run_privately(
    package: Package,
    private: PrivateModel,
    inputs: Mapping[str, Tensor],
    repeat: int,
    status: Status,
) -> tuple[dict[str, Tensor], list[Profile]]:
    """Run a package so often and return the last outputs, by name, and the profile of each run."""
    profiles = []
    outputs: dict[str, Tensor] = {}
    with private:
        start(private, inputs, status)
        for count in range(repeat):
            status.update(f"running {package.name} ({count + 1} of {repeat})")
            outputs = private(**inputs)
            profiles.append(private.last_profile())
    return outputs, profiles


def start(private: PrivateModel, inputs: Mapping[str, Any], status: Status) -> None:
    """Start the parties; wrong inputs are told before that."""
    private.compile_for(inputs)
    status.update("starting the parties")
    private.prepare()
