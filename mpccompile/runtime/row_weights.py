"""The weights of a softmax's rows in each form: exponentials, squares, or what is positive of the scores."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mpccompile.runtime import checks, compare
from mpccompile.runtime.forms import LEAST_TOTAL, QUAD_SHIFT
from mpccompile.runtime.inverse import result_bits
from mpccompile.runtime.openings import truncate
from mpccompile.runtime.party import Protocol, current
from mpccompile.runtime.products import needed_bits, product
from mpccompile.runtime.quadratics import passing_square, square_within
from mpccompile.runtime.series import COARSE, FINE, Series, evaluate, fit, passing_range
from mpccompile.runtime.shared import Shared

CENTRE_BITS = 8
"""The row mean is taken with weights in units of 2^-8, so that it needs no truncation: softmax does not mind which
shift it gets, only the range of the exponent does."""
EXPONENT_SPAN = 8.0
"""Widest exponent range (before the window test's margin) that one series covers; beyond it the scores are halved and
the normalised result squared, which is the same softmax."""
COARSE_WEIGHT_BITS = 14
"""Exponentials kept to this many bits are evaluated in coarse fixed point, whose rounding is a tenth of theirs."""
COUNT_BITS = 14


@dataclass(frozen=True)
class SoftmaxRange:
    """What calibration found for one softmax, margin included.

    Attributes:
        low: Smallest score after the shift; of 2Quad and 2ReLU, which shift nothing, the smallest score.
        high: Largest of the same.
        totals: For each level, the range of what a row is divided by: first the mean of its kept weights (of the scores
            as halved; of 2ReLU their sum), then the sum of the squared probabilities, once per halving.
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


@dataclass(frozen=True)
class Divisor:
    """What a row is divided by: its sum, through the mean of its kept entries when ``count`` is given.

    Dividing the sum by the public count narrows the range of the secret divisor; the quotient is divided by the same
    integer factor, so its rounding cancels, and both happen in truncations that are due anyway.

    Attributes:
        total: Calibrated range of the sum, over the count if there is one.
        count: Public integers that broadcast to the row sums.
        empty: Public bools: rows the mask empties, which get a harmless divisor and stay zero.
        least: A smaller sum is raised to this, and sums of any size above it are inverted; None where the calibrated
            range is all there is.
    """

    total: tuple[float, float]
    count: Tensor | None = None
    empty: Tensor | None = None
    least: float | None = None

    @property
    def factor(self) -> Tensor | int:
        """The integer that stands for 2^COUNT_BITS over the count."""
        return 1 if self.count is None else (1 << COUNT_BITS) // self.count.clamp(min=1)

    @property
    def factor_bits(self) -> int:
        """Fractional bits of the factor."""
        return 0 if self.count is None else COUNT_BITS


@dataclass(frozen=True)
class Rows:
    """The weights of a softmax's rows, and what each row is divided by."""

    weights: Shared
    divisor: Divisor


def row_weights(
    x: Shared, keep: Tensor | Shared | None, form: str, scope: SoftmaxRange, tolerance: float, frac_bits: int
) -> Protocol[Rows]:
    """Return the weights of each row in one of ``FORMS``, zero where the mask is.

    Args:
        x: Scores.
        keep: Public bool tensor that broadcasts to the scores, a shared integer 0 or 1 of their shape, or None.
        form: What a weight is.
        scope: The calibrated ranges.
        tolerance: Absolute error wanted of a probability.
        frac_bits: Fractional bits of a weight, at most.
    """
    if form == "2quad":
        return (yield from _squares(x, keep, scope, frac_bits))
    if form == "2relu":
        return (yield from _positive(x, keep, scope))
    return (yield from _exponentials(x, keep, scope, tolerance, frac_bits))


def largest_weight(form: str, scope: SoftmaxRange, frac_bits: int) -> float | None:
    """Return what a weight stays below when its score passes the test; None for a form that tests no score.

    Args:
        form: What a weight is.
        scope: The calibrated ranges.
        frac_bits: Fractional bits of the scores.
    """
    if form == "2quad":
        return passing_square(-_reach(scope), _reach(scope), frac_bits)[1] ** 2
    return None if form == "2relu" else _largest_exponential(scope)


def _reach(scope: SoftmaxRange) -> float:
    """Return the largest absolute value that is squared."""
    return max(abs(scope.low + QUAD_SHIFT), abs(scope.high + QUAD_SHIFT))


SQUARE_BITS = 22
"""Significant bits of the largest square: with 24 of the inverse and 14 of the count they stay below the 61 that
truncation takes."""


def _squares(x: Shared, keep: Tensor | Shared | None, scope: SoftmaxRange, frac_bits: int) -> Protocol[Rows]:
    """Return (s + 5)^2 of the kept scores.

    A secret mask multiplies s + 5 before it is squared, so that what it hides may lie anywhere. A public one makes
    zeros in the ring itself, where a factor 0 is exact before or after.
    """
    allowed = _allowed(x, keep)
    offset = round(QUAD_SHIFT * (1 << x.frac_bits))
    moved = Shared(
        x.share + offset if current().rank == 0 else x.share, x.frac_bits, [wire.moved(offset) for wire in x.wires]
    )
    if isinstance(keep, Shared):
        moved = yield from _kept(moved, keep)
    reach, largest = _reach(scope), largest_weight("2quad", scope, x.frac_bits) or 0.0
    need = needed_bits(2 * x.frac_bits, largest)
    raw = yield from square_within(moved, -reach, reach, ring_bits=need, only=allowed)
    raw.bits = min(raw.bits, need)
    if allowed is not None:
        raw = Shared(raw.share * allowed, raw.frac_bits, bits=raw.bits)
    weights = yield from truncate(raw, min(frac_bits, result_bits(largest, SQUARE_BITS)))
    return _rows_of(weights, allowed, scope)


def _positive(x: Shared, keep: Tensor | Shared | None, scope: SoftmaxRange) -> Protocol[Rows]:
    """Return max(s, 0) of the kept scores, exactly."""
    allowed = _allowed(x, keep)
    weights = yield from compare.relu(x)
    if allowed is not None:
        weights = Shared(weights.share * allowed, weights.frac_bits)
    if isinstance(keep, Shared):
        weights = yield from _kept(weights, keep)
    return Rows(weights, Divisor(scope.totals[0], least=LEAST_TOTAL))


def _largest_exponential(scope: SoftmaxRange) -> float:
    """Return what an exponential stays below when its score passes the range test."""
    half = 2.0**-scope.halvings
    _, high = passing_range(scope.low * half, scope.high * half, current().frac_bits + scope.halvings)
    return math.exp(high)


def _exponentials(
    x: Shared, keep: Tensor | Shared | None, scope: SoftmaxRange, tolerance: float, frac_bits: int
) -> Protocol[Rows]:
    allowed = _allowed(x, keep)
    shifted = _shift(x, keep if isinstance(keep, Tensor) else None, scope)
    series = _exponential(scope, tolerance, shifted.frac_bits)
    coarse = frac_bits <= COARSE_WEIGHT_BITS
    raw, wire = yield from evaluate(shifted, series, COARSE if coarse else FINE)
    if coarse:
        raw.bits = needed_bits(raw.frac_bits, _largest_exponential(scope))
    if allowed is not None:
        raw = Shared(raw.share * allowed, raw.frac_bits, bits=raw.bits)
    checks.expect_window(wire, series.origin, series.windows, series.window_bits, only=allowed)
    weights = yield from truncate(raw, min(frac_bits, result_bits(math.exp(scope.high * 2.0**-scope.halvings))))
    if isinstance(keep, Shared):
        weights = yield from _kept(weights, keep)
    return _rows_of(weights, allowed, scope)


def _allowed(x: Shared, keep: Tensor | Shared | None) -> Tensor | None:
    return keep.expand(x.shape).to(x.share.device) if isinstance(keep, Tensor) else None


def _kept(weights: Shared, keep: Shared) -> Protocol[Shared]:
    """Multiply by a secret mask of 0 and 1."""
    kept = yield from product(weights, keep, "mul")
    return (yield from truncate(kept, weights.frac_bits))


def _rows_of(weights: Shared, allowed: Tensor | None, scope: SoftmaxRange) -> Rows:
    """Return rows that are divided by their mean."""
    columns, device = weights.shape[-1], weights.share.device
    if allowed is None:
        return Rows(weights, Divisor(scope.totals[0], torch.full((1,), columns, dtype=torch.int64, device=device)))
    count = allowed.sum(-1, keepdim=True)
    return Rows(weights, Divisor(scope.totals[0], count, count == 0))


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
