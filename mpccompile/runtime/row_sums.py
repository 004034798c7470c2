"""One over the sum of each row's weights: in a calibrated range, or of whatever size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpccompile.runtime import compare
from mpccompile.runtime.inverse import reciprocal, result_bits
from mpccompile.runtime.openings import masked, truncate
from mpccompile.runtime.party import Protocol, current, together
from mpccompile.runtime.products import product
from mpccompile.runtime.scaling import LOWEST, STEP_BITS, constant, scale_of, scaled
from mpccompile.runtime.shared import Shared

if TYPE_CHECKING:
    from mpccompile.runtime.row_weights import Divisor


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
    """Return 1 / max(sum, least) for sums up to ``high``."""
    total = Shared(weights.share.sum(-1, keepdim=True), weights.frac_bits)
    floor = Shared(constant(total, least), total.frac_bits)
    raised, scale = yield from together(compare.maximum(total, floor), scale_of(total, least, high))
    normal = yield from scaled(raised, scale, result_bits(high))
    inverse = yield from reciprocal(normal, high * LOWEST, high, result_bits(1 / (high * 2.0**-STEP_BITS)))
    return (yield from product(inverse, scale.factor(), "mul"))
