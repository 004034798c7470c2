"""Softmax without a maximum: a calibrated shift, one series, one division a row."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mpccompile.runtime import checks
from mpccompile.runtime.inverse import reciprocal, result_bits
from mpccompile.runtime.openings import truncate
from mpccompile.runtime.party import Protocol, current
from mpccompile.runtime.products import product, square
from mpccompile.runtime.series import WINDOWS, Series, evaluate, fit
from mpccompile.runtime.shared import Shared

CENTRE_BITS = 8
"""The row mean is taken with weights in units of 2^-8, so that it needs no truncation: softmax does not mind which
shift it gets, only the range of the exponent does."""
EXPONENT_SPAN = 8.0
"""Widest exponent range (before the window test's margin) that one series covers; beyond it the scores are halved and
the normalised result squared, which is the same softmax."""
PROBABILITY_BITS = 26


@dataclass(frozen=True)
class SoftmaxRange:
    """What calibration found for one softmax, margin included.

    Attributes:
        low: Smallest score after the shift.
        high: Largest score after the shift.
        total: Smallest and largest sum of a row's exponentials, of the scores as halved.
        centred: Whether the shift is each row's mean (of the kept entries) rather than a constant.
        shift: The constant, when it is not centred.
        halvings: How often the scores are halved; the result is squared and normalised as often.
    """

    low: float
    high: float
    total: tuple[float, float]
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
    if keep.device.type == "meta":
        return torch.empty(keep.shape, dtype=torch.int64, device="meta")
    count = keep.sum(-1, keepdim=True).clamp(min=1)
    position = torch.cumsum(keep, -1)
    unit = 1 << CENTRE_BITS
    weights = (position * unit) // count - ((position - 1) * unit) // count
    return torch.where(keep, weights, torch.zeros_like(weights))


def softmax(x: Shared, keep: Tensor | None, scope: SoftmaxRange, tolerance: float) -> Protocol[Shared]:
    """Return the softmax of the last dim, exactly zero where the public ``keep`` is False.

    Args:
        x: Scores.
        keep: Public bool tensor that broadcasts to the scores, or None.
        scope: The calibrated ranges.
        tolerance: Absolute error wanted of a probability.
    """
    shifted = _shift(x, keep, scope)
    series = _exponential(scope, tolerance, shifted.frac_bits)
    raw, wire = yield from evaluate(shifted, series)
    allowed = None if keep is None else keep.expand(x.shape).to(x.share.device)
    if allowed is not None:
        raw = Shared(raw.share * allowed, raw.frac_bits)
    checks.expect_window(wire, series.origin, WINDOWS, series.window_bits, only=allowed)
    largest = math.exp(scope.high * 2.0**-scope.halvings)
    weights = yield from truncate(raw, min(24, result_bits(largest, PROBABILITY_BITS)))
    empty = None if allowed is None else ~allowed.any(-1, keepdim=True)
    probabilities = yield from _normalise(weights, scope.total, empty)
    for _ in range(scope.halvings):
        squares = yield from square(probabilities)
        squares = yield from truncate(squares, PROBABILITY_BITS)
        probabilities = yield from _normalise(squares, (0.9 / x.shape[-1], 1.1), empty)
    return (yield from truncate(probabilities, current().frac_bits))


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
    accuracy = max(tolerance * min(1.0, scope.total[0]) / 2, math.exp(scope.high * half) * 2.0**-20)
    return fit("exp", scope.low * half, scope.high * half, accuracy, frac_bits + scope.halvings)


def _normalise(weights: Shared, total: tuple[float, float], empty: Tensor | None) -> Protocol[Shared]:
    """Divide each row by its sum; rows that the public mask empties get a harmless sum and stay zero."""
    low, high = total
    rows = Shared(weights.share.sum(-1, keepdim=True), weights.frac_bits)
    if empty is not None and current().rank == 0:
        rows = Shared(rows.share + empty * round((low + high) / 2 * (1 << rows.frac_bits)), rows.frac_bits)
    scaled = yield from truncate(rows, min(weights.frac_bits, result_bits(high)))
    inverse = yield from reciprocal(scaled, low, high, result_bits(1 / low))
    quotient = yield from product(weights, inverse, "mul")
    return (yield from truncate(quotient, min(PROBABILITY_BITS, quotient.frac_bits)))
