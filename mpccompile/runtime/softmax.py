"""Softmax without a maximum: a calibrated shift, one series, one division a row."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mpccompile.runtime import checks
from mpccompile.runtime.inverse import reciprocal, result_bits
from mpccompile.runtime.openings import HEADROOM_BITS, masked, truncate
from mpccompile.runtime.party import Protocol, current, together
from mpccompile.runtime.products import needed_bits, product, square
from mpccompile.runtime.series import COARSE, FINE, TESTED_BITS, Series, evaluate, fit, passing_range
from mpccompile.runtime.shared import Shared

CENTRE_BITS = 8
"""The row mean is taken with weights in units of 2^-8, so that it needs no truncation: softmax does not mind which
shift it gets, only the range of the exponent does."""
EXPONENT_SPAN = 8.0
"""Widest exponent range (before the window test's margin) that one series covers; beyond it the scores are halved and
the normalised result squared, which is the same softmax."""
PROBABILITY_BITS = 26
WEIGHT_BITS = 20
"""Fractional bits of an exponential: 20 + 24 of the inverse + 14 of the count stay below the 61 that truncation
takes."""
COARSE_WEIGHT_BITS = 14
"""Exponentials kept to this many bits are evaluated in coarse fixed point, whose rounding is a tenth of theirs."""
MIX_ERROR = 1e-4
"""Largest deviation that rounding the exponentials may bring into a mix of values of size one: each of n weights is off
by 2^-bits / sqrt(12), and their sum is at least n times the smallest mean."""


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
    rows = yield from _exponentials(x, keep, scope, tolerance, WEIGHT_BITS)
    first = PROBABILITY_BITS if scope.halvings else current().frac_bits
    divisor = _Divisor(scope.totals[0], rows.count, rows.count == 0)
    probabilities = yield from _divide(rows.weights, divisor, first)
    for level in range(1, len(scope.totals)):
        squares = yield from square(probabilities)
        squares = yield from truncate(squares, PROBABILITY_BITS)
        probabilities = yield from _divide(squares, _Divisor(scope.totals[level], None, rows.empty), PROBABILITY_BITS)
    return (yield from truncate(probabilities, current().frac_bits))


def attend(
    x: Shared, values: Shared, keep: Tensor | Shared | None, scope: SoftmaxRange, tolerance: float, bound: float | None
) -> Protocol[Shared]:
    """Return softmax(x) @ values, dividing each row after the product instead of before.

    There are fewer values to divide than probabilities, and the product runs while the divisor is inverted.

    Args:
        x: Scores [..., rows, columns].
        values: [..., columns, width].
        keep: As in :func:`softmax`.
        scope: The calibrated ranges.
        tolerance: Absolute error wanted of a probability.
        bound: What the absolute values are proven to stay below.
    """
    columns = x.shape[-1]
    rows = yield from _exponentials(x, keep, scope, tolerance, _weight_bits(columns, scope, values.frac_bits, bound))
    weights, divisor = rows.weights, _Divisor(scope.totals[0], rows.count, rows.count == 0)
    for level in range(1, len(scope.totals)):
        probabilities = yield from _divide(weights, divisor, PROBABILITY_BITS)
        squares = yield from square(probabilities)
        weights = yield from truncate(squares, WEIGHT_BITS)
        divisor = _Divisor(scope.totals[level], None, rows.empty)
    largest = None if bound is None else columns * _largest(scope) * bound
    spare = math.ceil(math.log2(columns)) if divisor.count is not None else 0
    mixed, inverse = yield from together(
        _mixed(weights, values, largest, MIXED_BITS - spare), _inverse_sum(weights, divisor)
    )
    quotient = yield from product(mixed, inverse, "mul")
    return (yield from truncate(_counted(quotient, divisor), current().frac_bits))


MIXED_BITS = 18
"""Fractional bits of a mix of values, less those of the row's length: it is divided by about that length."""


def _mixed(weights: Shared, values: Shared, bound: float | None, frac_bits: int) -> Protocol[Shared]:
    raw = yield from product(weights, values, "matmul", bound)
    mixed = yield from truncate(raw, max(8, min(current().frac_bits, frac_bits)))
    yield from masked(mixed)
    return mixed


def _weight_bits(columns: int, scope: SoftmaxRange, value_bits: int, bound: float | None) -> int:
    """Return the fractional bits that let weights times values fit the ring of a truncated value's wire, if enough."""
    if bound is None:
        return WEIGHT_BITS
    room = TESTED_BITS - HEADROOM_BITS - value_bits - math.ceil(math.log2(columns * _largest(scope) * bound))
    fewest = math.log2(1 / (MIX_ERROR * math.sqrt(12 * columns) * scope.totals[0][0]))
    return min(WEIGHT_BITS, room) if room >= fewest else WEIGHT_BITS


def _largest(scope: SoftmaxRange) -> float:
    """Return what an exponential stays below when it passes the range test."""
    half = 2.0**-scope.halvings
    _, high = passing_range(scope.low * half, scope.high * half, current().frac_bits + scope.halvings)
    return math.exp(high)


@dataclass(frozen=True)
class _Rows:
    """Exponentials of a softmax; ``count`` is how many of a row are kept, ``empty`` marks rows that keep none."""

    weights: Shared
    count: Tensor
    empty: Tensor | None


def _exponentials(
    x: Shared, keep: Tensor | Shared | None, scope: SoftmaxRange, tolerance: float, frac_bits: int
) -> Protocol[_Rows]:
    public = keep if isinstance(keep, Tensor) else None
    shifted = _shift(x, public, scope)
    series = _exponential(scope, tolerance, shifted.frac_bits)
    coarse = frac_bits <= COARSE_WEIGHT_BITS
    raw, wire = yield from evaluate(shifted, series, COARSE if coarse else FINE)
    if coarse:
        raw.bits = needed_bits(raw.frac_bits, _largest(scope))
    allowed = None if public is None else public.expand(x.shape).to(x.share.device)
    if allowed is not None:
        raw = Shared(raw.share * allowed, raw.frac_bits, bits=raw.bits)
    checks.expect_window(wire, series.origin, series.windows, series.window_bits, only=allowed)
    weights = yield from truncate(raw, min(frac_bits, result_bits(math.exp(scope.high * 2.0**-scope.halvings))))
    if isinstance(keep, Shared):
        kept = yield from product(weights, keep, "mul")
        weights = yield from truncate(kept, weights.frac_bits)
    empty = None if allowed is None else ~allowed.any(-1, keepdim=True)
    return _Rows(weights, _kept_count(allowed, x.shape[-1], x.share.device), empty)


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
        public_offset = round(scope.shift * (1 << x.frac_bits))
        return Shared(x.share - offset, x.frac_bits, [wire.moved(-public_offset) for wire in x.wires])
    weights = centre_weights(keep, x.shape[-1]).to(x.share.device)
    mean = (x.share * weights).sum(-1, keepdim=True)
    return Shared((x.share << CENTRE_BITS) - mean, x.frac_bits + CENTRE_BITS)


def _exponential(scope: SoftmaxRange, tolerance: float, frac_bits: int) -> Series:
    """Fit exp(x / 2^halvings), by giving the argument that many more fractional bits."""
    half = 2.0**-scope.halvings
    accuracy = max(tolerance * min(1.0, scope.totals[0][0]) / 2, math.exp(scope.high * half) * 2.0**-20)
    return fit("exp", scope.low * half, scope.high * half, accuracy, frac_bits + scope.halvings)


COUNT_BITS = 14


@dataclass(frozen=True)
class _Divisor:
    """What a row is divided by: its sum, through the mean of its kept entries when ``count`` is given.

    Dividing the sum by the public count narrows the range of the secret divisor; the quotient is divided by the same
    integer factor, so its rounding cancels, and both happen in truncations that are due anyway.

    Attributes:
        total: Calibrated range of the sum, over the count if there is one.
        count: Public integers that broadcast to the row sums.
        empty: Public bools: rows the mask empties, which get a harmless divisor and stay zero.
    """

    total: tuple[float, float]
    count: Tensor | None
    empty: Tensor | None

    @property
    def factor(self) -> Tensor | int:
        """The integer that stands for 2^COUNT_BITS over the count."""
        return 1 if self.count is None else (1 << COUNT_BITS) // self.count.clamp(min=1)

    @property
    def factor_bits(self) -> int:
        """Fractional bits of the factor."""
        return 0 if self.count is None else COUNT_BITS


def _divide(weights: Shared, divisor: _Divisor, frac_bits: int) -> Protocol[Shared]:
    """Divide each row by its sum."""
    inverse, _ = yield from together(_inverse_sum(weights, divisor), masked(weights))
    quotient = yield from product(weights, inverse, "mul")
    return (yield from truncate(_counted(quotient, divisor), frac_bits))


def _counted(quotient: Shared, divisor: _Divisor) -> Shared:
    return Shared(quotient.share * divisor.factor, quotient.frac_bits + divisor.factor_bits, bits=quotient.bits)


def _inverse_sum(weights: Shared, divisor: _Divisor) -> Protocol[Shared]:
    low, high = divisor.total
    rows = weights.share.sum(-1, keepdim=True) * divisor.factor
    frac_bits = weights.frac_bits + divisor.factor_bits
    if divisor.empty is not None and current().rank == 0:
        rows = rows + divisor.empty * round((low + high) / 2 * (1 << frac_bits))
    total = yield from truncate(Shared(rows, frac_bits), min(frac_bits, result_bits(high)))
    inverse = yield from reciprocal(total, low, high, result_bits(1 / low))
    yield from masked(inverse)
    return inverse
