"""One over the sum of each row's weights: in a calibrated range, or of whatever size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from mpccompile.runtime import compare
from mpccompile.runtime.inverse import reciprocal, result_bits
from mpccompile.runtime.openings import masked, truncate
from mpccompile.runtime.party import Protocol, current, together
from mpccompile.runtime.products import product
from mpccompile.runtime.shared import Shared

if TYPE_CHECKING:
    from mpccompile.runtime.row_weights import Divisor

STEP_BITS = 4
"""A sum is brought within a factor of 2^4 below the largest: an inverse on such a range is one series."""


def inverse_sum(weights: Shared, divisor: Divisor) -> Protocol[Shared]:
    """Return one over the sum, or the mean, of the last dim, [..., 1]; a sum outside its range is reported.

    Args:
        weights: What is summed.
        divisor: Its range, and what else is known of it.
    """
    if divisor.least is not None:
        inverse = yield from _inverse_of_any(weights, divisor.least, divisor.total[1])
    else:
        inverse = yield from _inverse_in_range(weights, divisor)
    yield from masked(inverse)
    return inverse


def _inverse_in_range(weights: Shared, divisor: Divisor) -> Protocol[Shared]:
    low, high = divisor.total
    rows = weights.share.sum(-1, keepdim=True) * divisor.factor
    frac_bits = weights.frac_bits + divisor.factor_bits
    if divisor.empty is not None and current().rank == 0:
        rows = rows + divisor.empty * round((low + high) / 2 * (1 << frac_bits))
    total = yield from truncate(Shared(rows, frac_bits), min(frac_bits, result_bits(high)))
    return (yield from reciprocal(total, low, high, result_bits(1 / low)))


def _inverse_of_any(weights: Shared, least: float, high: float) -> Protocol[Shared]:
    """Return 1 / max(sum, least) for sums up to ``high``.

    A positive sum is compared with high / 16, high / 16^2 and so on, all at once, and multiplied by 16 for each that
    it is below of: the product lies in (high / 16, high], and its inverse times the same factor is wanted. A sum
    beyond ``high`` keeps its size and fails the test of the reciprocal.
    """
    total = Shared(weights.share.sum(-1, keepdim=True), weights.frac_bits)
    floor = Shared(_constant(total, least), total.frac_bits)
    steps = max(0, math.ceil(math.log2(high / least) / STEP_BITS) - 1)
    limits = [high * 2.0 ** (-STEP_BITS * (step + 1)) for step in range(steps)]
    raised, *below = yield from together(
        compare.maximum(total, floor),
        *(compare.is_negative(Shared(total.share - _constant(total, limit), total.frac_bits)) for limit in limits),
    )
    share = _constant(Shared(total.share, 0), 1)
    for step, smaller in enumerate(below):
        share = share + smaller.share * ((1 << STEP_BITS * (step + 1)) - (1 << STEP_BITS * step))
    factor = Shared(share, 0)
    scaled = yield from product(raised, factor, "mul")
    normal = yield from truncate(scaled, min(scaled.frac_bits, result_bits(high)))
    low = high * 2.0**-STEP_BITS
    inverse = yield from reciprocal(normal, low * (1 - ROUNDING), high, result_bits(1 / low))
    return (yield from product(inverse, factor, "mul"))


ROUNDING = 0.05
"""Room below the range for a sum that a limit's rounding puts on the other side."""


def _constant(like: Shared, value: float) -> torch.Tensor:
    """Return a public number as this party's share of a sharing of that shape."""
    fixed = round(value * (1 << like.frac_bits)) if current().rank == 0 else 0
    return torch.full_like(like.share, fixed)
