"""Inputs of a call, held to what the program was compiled for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mpccompile.errors import InputError
from mpccompile.runtime.program import check_limit
from mpccompile.runtime.ring import WORD_BITS

if TYPE_CHECKING:
    from mpccompile.codegen.package import Package


def checked(package: Package, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Check dtypes and limits, and return the inputs in order, in the dtypes of the program.

    Raises:
        InputError: If an input is of another kind than the program's, or beyond what its proofs start from.
    """
    for spec in package.inputs:
        value = tensors[spec.name]
        if value.is_floating_point() != spec.dtype.is_floating_point:
            raise InputError(
                f"input {spec.name} has dtype {value.dtype}, the program was compiled for {spec.dtype}",
                where=f"input {spec.name}",
                hint=f"Convert it with .to({spec.dtype}).",
            )
        check_limit(spec.name, value, spec.limit)
    return {spec.name: tensors[spec.name].to(spec.dtype) for spec in package.inputs}


def check_values(name: str, value: Tensor, frac_bits: int) -> None:
    """Refuse what fixed point cannot hold.

    Raises:
        InputError: If a value is not finite, or too large.
    """
    if not value.is_floating_point():
        return
    if not bool(torch.isfinite(value).all()):
        raise InputError("the input holds NaN or infinity", where=f"input {name}")
    bits = WORD_BITS - 1 - frac_bits
    if not bool((value.abs() < 2.0**bits).all()):
        raise InputError(f"the input holds a value that is not below 2^{bits} in size", where=f"input {name}")
