"""The shapes that a program is made for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from mpccompile.errors import InputError

if TYPE_CHECKING:
    from mpccompile.codegen.package import Package

Shapes = tuple[tuple[str, tuple[int, ...]], ...]
"""Of each input by name, in the order of the names."""


def shapes_of(package: Package) -> Shapes:
    """Return the shapes that a package was made for."""
    return tuple(sorted((spec.name, spec.shape) for spec in package.inputs))


def shape_key(batch: Mapping[str, Tensor]) -> Shapes:
    """Return the shapes of inputs, in the order of their names."""
    return tuple(sorted((name, tuple(value.shape)) for name, value in batch.items()))


def shape_error(package: Package, shapes: Shapes) -> InputError:
    """Say how inputs of these shapes do not fit a package."""
    wanted = dict(shapes_of(package))
    given = dict(shapes)
    missing, unknown = sorted(set(wanted) - set(given)), sorted(set(given) - set(wanted))
    if missing:
        return InputError(f"input {', '.join(missing)} is missing", hint=f"The inputs are {', '.join(wanted)}.")
    if unknown:
        return InputError(f"there is no input {', '.join(unknown)}", hint=f"The inputs are {', '.join(wanted)}.")
    wrong = next(name for name in wanted if wanted[name] != given[name])
    return InputError(
        f"input {wrong} has shape {list(given[wrong])}, the program was compiled for {list(wanted[wrong])}",
        where=f"input {wrong}",
        hint="Pad it, or compile the model for this shape.",
    )
