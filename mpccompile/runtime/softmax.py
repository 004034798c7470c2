"""Softmax without a maximum, in each of its forms: weights in one opening, and one division a row."""

from __future__ import annotations

import math

from torch import Tensor

from mpccompile.runtime.openings import HEADROOM_BITS, masked, truncate
from mpccompile.runtime.party import Protocol, current, together
from mpccompile.runtime.products import product, square
from mpccompile.runtime.row_sums import inverse_sum
from mpccompile.runtime.row_weights import Divisor, SoftmaxRange, largest_weight, row_weights
from mpccompile.runtime.series import TESTED_BITS
from mpccompile.runtime.shared import Shared

PROBABILITY_BITS = 26
WEIGHT_BITS = 20
"""Fractional bits of an exponential: 20 + 24 of the inverse + 14 of the count stay below the 61 that truncation
takes."""
MIX_ERROR = 1e-4
"""Largest deviation that rounding the weights may bring into a mix of values of size one: each of n weights is off
by 2^-bits / sqrt(12), and their sum is at least n times the smallest mean."""


def softmax(
    x: Shared, keep: Tensor | Shared | None, form: str, scope: SoftmaxRange, tolerance: float
) -> Protocol[Shared]:
    """Return the softmax of the last dim, zero where ``keep`` is False or 0.

    A public mask multiplies the weights for nothing and makes zeros exact; a secret one costs a product, and the
    number of entries it keeps stays secret too.

    Args:
        x: Scores.
        keep: Public bool tensor that broadcasts to the scores, a shared integer 0 or 1 of their shape, or None.
        form: One of ``forms.FORMS``.
        scope: The calibrated ranges.
        tolerance: Absolute error wanted of a probability.
    """
    rows = yield from row_weights(x, keep, form, scope, tolerance, WEIGHT_BITS)
    first = PROBABILITY_BITS if scope.halvings else current().frac_bits
    probabilities = yield from _divide(rows.weights, rows.divisor, first)
    for level in range(1, len(scope.totals)):
        squares = yield from square(probabilities)
        squares = yield from truncate(squares, PROBABILITY_BITS)
        divisor = Divisor(scope.totals[level], None, rows.divisor.empty)
        probabilities = yield from _divide(squares, divisor, PROBABILITY_BITS)
    return (yield from truncate(probabilities, current().frac_bits))


def attend(
    x: Shared,
    values: Shared,
    keep: Tensor | Shared | None,
    form: str,
    scope: SoftmaxRange,
    tolerance: float,
    bound: float | None,
) -> Protocol[Shared]:
    """Return softmax(x) @ values, dividing each row after the product instead of before.

    There are fewer values to divide than probabilities, and the product runs while the divisor is inverted.

    Args:
        x: Scores [..., rows, columns].
        values: [..., columns, width].
        keep: As in :func:`softmax`.
        form: As in :func:`softmax`.
        scope: The calibrated ranges.
        tolerance: Absolute error wanted of a probability.
        bound: What the absolute values are proven to stay below.
    """
    columns, weight_bound = x.shape[-1], largest_weight(form, scope, x.frac_bits)
    largest = None if bound is None or weight_bound is None else columns * weight_bound * bound
    frac_bits = _weight_bits(columns, scope, values.frac_bits, largest)
    rows = yield from row_weights(x, keep, form, scope, tolerance, frac_bits)
    weights, divisor = rows.weights, rows.divisor
    for level in range(1, len(scope.totals)):
        probabilities = yield from _divide(weights, divisor, PROBABILITY_BITS)
        squares = yield from square(probabilities)
        weights = yield from truncate(squares, WEIGHT_BITS)
        divisor = Divisor(scope.totals[level], None, rows.divisor.empty)
    spare = math.ceil(math.log2(columns)) if divisor.count is not None else 0
    mixed, inverse = yield from together(
        _mixed(weights, values, largest, MIXED_BITS - spare), inverse_sum(weights, divisor)
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


def _weight_bits(columns: int, scope: SoftmaxRange, value_bits: int, largest: float | None) -> int:
    """Return the fractional bits that let weights times values fit the ring of a truncated value's wire, if enough."""
    if largest is None:
        return WEIGHT_BITS
    room = TESTED_BITS - HEADROOM_BITS - value_bits - math.ceil(math.log2(largest))
    fewest = math.log2(1 / (MIX_ERROR * math.sqrt(12 * columns) * scope.totals[0][0]))
    return min(WEIGHT_BITS, room) if room >= max(fewest, 0) else WEIGHT_BITS


def _divide(weights: Shared, divisor: Divisor, frac_bits: int) -> Protocol[Shared]:
    """Divide each row by its sum."""
    inverse, _ = yield from together(inverse_sum(weights, divisor), masked(weights))
    quotient = yield from product(weights, inverse, "mul")
    return (yield from truncate(_counted(quotient, divisor), frac_bits))


def _counted(quotient: Shared, divisor: Divisor) -> Shared:
    return Shared(quotient.share * divisor.factor, quotient.frac_bits + divisor.factor_bits, bits=quotient.bits)
