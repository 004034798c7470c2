"""Softmax without a maximum: a calibrated shift, one series, one division a row."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mpccompile.runtime import checks
from mpccompile.runtime.inverse import reciprocal, result_bits
from mpccompile.runtime.openings import masked, truncate
from mpccompile.runtime.party import Protocol, current, together
from mpccompile.runtime.products import product, square
from mpccompile.runtime.series import Series, evaluate, fit
from mpccompile.runtime.shared import Shared

CENTRE_BITS = 8
"""The row mean is taken with weights in units of 2^-8, so that it needs no truncation: softmax does not mind which
shift it gets, only the range of the exponent does."""
EXPONENT_SPAN = 8.0
"""Widest exponent range (before the window test's margin) that one series covers; beyond it the scores are halved and
the normalised result squared, which is the same softmax."""
PROBABILITY_BITS = 26
WEIGHT_BITS = 20
"""Fractional bits of an exponential: 20 + 24 of the inverse + 14 of the count stay below the 61 that truncation takes."""


@dataclass(frozen=True)
class SoftmaxRange:
    """What calibration found for one softmax, margin included.

    Attributes:
        low: Smallest score after the shift.
        high: Largest score after the shift.
        totals: For each level, the range of what a row is divided by: first the mean of its kept exponentials (of the
            scores as halved), then the sum of the squared probabilities, once per halving.
        centred: Whether the shift is each row's mean (of the kept entries) rather than a constant.
        shift: The constant, when it is not centred.
        halvings: How often the scores are halved; the result is squared and normalised as often.
    """

    low: float
    high: float
    totals: tuple[tuple[float, float], ...]
    centred: bool = False
    shift: float = 0.0
    halvings: int = 0


def centre_weights(keep: Tensor | None, columns: int) -> Tensor:
    """Return integer weights over a row's kept entries that add up to 2^8 (0 for a row with none): about 2^8 / count.

    Args:
        keep: Public bool tensor [..., columns], or None for all.
        columns: Length of a row.
    """
    if keep is None:
        keep = torch.ones(columns, dtype=torch.bool)
    count = keep.sum(-1, keepdim=True).clamp(min=1)
    position = torch.cumsum(keep, -1)
    unit = 1 << CENTRE_BITS
    weights = (position * unit) // count - ((position - 1) * unit) // count
    return torch.where(keep, weights, torch.zeros_like(weights))


def softmax(x: Shared, keep: Tensor | Shared | None, scope: SoftmaxRange, tolerance: float) -> Protocol[Shared]:
    """Return the softmax of the last dim, zero where ``keep`` is False or 0.

    A public mask multiplies the exponentials for nothing and makes zeros exact; a secret one costs a product, and the
    number of entries it keeps stays secret too.

    Args:
        x: Scores.
        keep: Public bool tensor that broadcasts to the scores, a shared integer 0 or 1 of their shape, or None.
        scope: The calibrated ranges.
        tolerance: Absolute error wanted of a probability.
    """
    public = keep if isinstance(keep, Tensor) else None
    shifted = _shift(x, public, scope)
    series = _exponential(scope, tolerance, shifted.frac_bits)
    raw, wire = yield from evaluate(shifted, series)
    allowed = None if public is None else public.expand(x.shape).to(x.share.device)
    if allowed is not None:
        raw = Shared(raw.share * allowed, raw.frac_bits)
    checks.expect_window(wire, series.origin, series.windows, series.window_bits, only=allowed)
    largest = math.exp(scope.high * 2.0**-scope.halvings)
    weights = yield from truncate(raw, min(WEIGHT_BITS, result_bits(largest)))
    if isinstance(keep, Shared):
        kept = yield from product(weights, keep, "mul")
        weights = yield from truncate(kept, weights.frac_bits)
    count = _kept_count(allowed, x.shape[-1], x.share.device)
    final = current().frac_bits
    first = PROBABILITY_BITS if scope.halvings else final
    probabilities = yield from _normalise_mean(weights, scope.totals[0], count, first)
    empty = None if allowed is None else ~allowed.any(-1, keepdim=True)
    for total in scope.totals[1:]:
        squares = yield from square(probabilities)
        squares = yield from truncate(squares, PROBABILITY_BITS)
        probabilities = yield from _normalise(squares, total, empty)
    return (yield from truncate(probabilities, final))


def _kept_count(allowed: Tensor | None, columns: int, device: torch.device) -> Tensor:
    """Return how many entries of each row are kept, [..., 1], as a public tensor."""
    if allowed is None:
        return torch.full((1,), columns, dtype=torch.int64, device=device)
    return allowed.sum(-1, keepdim=True)


def _shift(x: Shared, keep: Tensor | None, scope: SoftmaxRange) -> Shared:
    if not scope.centred:
        if scope.shift == 0:
            return x
        offset = round(scope.shift * (1 << x.frac_bits)) if current().rank == 0 else 0
        return Shared(x.share - offset, x.frac_bits)
    weights = centre_weights(keep, x.shape[-1]).to(x.share.device)
    mean = (x.share * weights).sum(-1, keepdim=True)
    return Shared((x.share << CENTRE_BITS) - mean, x.frac_bits + CENTRE_BITS)


def _exponential(scope: SoftmaxRange, tolerance: float, frac_bits: int) -> Series:
    """Fit exp(x / 2^halvings), by giving the argument that many more fractional bits."""
    half = 2.0**-scope.halvings
    accuracy = max(tolerance * min(1.0, scope.totals[0][0]) / 2, math.exp(scope.high * half) * 2.0**-20)
    return fit("exp", scope.low * half, scope.high * half, accuracy, frac_bits + scope.halvings)


COUNT_BITS = 14


def _normalise_mean(
    weights: Shared, total: tuple[float, float], count: Tensor, frac_bits: int
) -> Protocol[Shared]:
    """Divide each row by its sum, through the mean of its kept entries.

    Dividing the sum by the public count narrows the range of the secret divisor; the quotient is divided by the same
    integer factor, so its rounding cancels, and both happen in truncations that are due anyway.

    Args:
        weights: Non-negative rows.
        total: Calibrated range of a row's sum over its count.
        count: Public integers that broadcast to the row sums; 0 marks an empty row, which stays zero.
        frac_bits: Fractional bits of the result.
    """
    factor = (1 << COUNT_BITS) // count.clamp(min=1)
    rows = Shared(weights.share.sum(-1, keepdim=True) * factor, weights.frac_bits + COUNT_BITS)
    quotient = yield from _divided(weights, rows, total, count == 0)
    return (yield from truncate(Shared(quotient.share * factor, quotient.frac_bits + COUNT_BITS), frac_bits))


def _normalise(weights: Shared, total: tuple[float, float], empty: Tensor | None) -> Protocol[Shared]:
    """Divide each row by its sum, whose calibrated range is ``total``."""
    rows = Shared(weights.share.sum(-1, keepdim=True), weights.frac_bits)
    quotient = yield from _divided(weights, rows, total, empty)
    return (yield from truncate(quotient, PROBABILITY_BITS))


def _divided(weights: Shared, rows: Shared, total: tuple[float, float], empty: Tensor | None) -> Protocol[Shared]:
    low, high = total
    if empty is not None and current().rank == 0:
        middle = round((low + high) / 2 * (1 << rows.frac_bits))
        rows = Shared(rows.share + empty * middle, rows.frac_bits)
    divisor = yield from truncate(rows, min(rows.frac_bits, result_bits(high)))
    inverse, _ = yield from together(_opened_reciprocal(divisor, low, high), masked(weights))
    return (yield from product(weights, inverse, "mul"))


def _opened_reciprocal(divisor: Shared, low: float, high: float) -> Protocol[Shared]:
    inverse = yield from reciprocal(divisor, low, high, result_bits(1 / low))
    yield from masked(inverse)
    return inverse
