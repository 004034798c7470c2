"""Weights computed with in float64, some rows at a time.

A whole weight in float64 and its product would take four times its memory, and the largest weight of a model may be
most of it.
"""

from __future__ import annotations

import torch
from torch import Tensor

_AT_ONCE = 2**20
"""Elements of a few rows: 8 MB in float64."""


def scaled(weight: Tensor, factors: Tensor) -> Tensor:
    """Return ``weight * factors`` in the weight's dtype; the factors are of a shape that expands to its own."""
    result = torch.empty(weight.shape, dtype=weight.dtype)
    parts = (whole.split(_rows(weight)) for whole in (result, weight, factors.expand(weight.shape)))
    for into, data, factor in zip(*parts, strict=True):
        into.copy_(data.double() * factor)
    return result


def product(weight: Tensor, other: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return the matrix product of a weight [M, K] and a float64 [K] or [K, N], in ``dtype``."""
    result = torch.empty((len(weight), *other.shape[1:]), dtype=dtype)
    for into, data in zip(result.split(_rows(weight)), weight.split(_rows(weight)), strict=True):
        into.copy_(data.double() @ other)
    return result


def _rows(weight: Tensor) -> int:
    return max(1, _AT_ONCE // max(1, weight[:1].numel()))
