"""Reciprocal and inverse square root: a series as first guess, then Newton steps whose residual is tested.

The residual of the last step, 1 - x y or 1 - x y^2, bounds the error of the result by its square, whatever x was. So a
value outside the calibrated range cannot give a wrong answer unnoticed, and the fit needs no margin.
"""

from __future__ import annotations

import math

from mpccompile.runtime import checks
from mpccompile.runtime.openings import RING_BITS, masked, truncate
from mpccompile.runtime.party import Protocol, current
from mpccompile.runtime.products import product, square
from mpccompile.runtime.series import evaluate, fit_relative
from mpccompile.runtime.shared import Shared

GUESS_ERROR = 0.05
"""Relative error of the first guess. Two steps bring it to 0.05^4 = 6e-6, and the residual 0.0025 of the last but one
is what the test sees."""
RESIDUAL_LIMIT = 0.02
"""Largest residual before the last Newton step that passes for sure; up to 0.03 may. The error after the step is at most
0.03^2 = 9e-4 relative; 0.0025^2 = 6e-6 for values in the calibrated range."""
STEPS = 2


def reciprocal(x: Shared, low: float, high: float, frac_bits: int) -> Protocol[Shared]:
    """Return 1 / x for x in [low, high], low > 0.

    Args:
        x: The argument, at any number of fractional bits.
        low: Lower end of the calibrated range.
        high: Upper end.
        frac_bits: Fractional bits of the result, whose largest value is 1 / low.
    """
    return (yield from _newton(x, "reciprocal", low, high, frac_bits))


def rsqrt(x: Shared, low: float, high: float, frac_bits: int) -> Protocol[Shared]:
    """Return x^(-1/2) for x in [low, high], low > 0; arguments as in :func:`reciprocal`."""
    return (yield from _newton(x, "rsqrt", low, high, frac_bits))


def _newton(x: Shared, name: str, low: float, high: float, frac_bits: int) -> Protocol[Shared]:
    series = fit_relative(name, low, high, GUESS_ERROR, x.frac_bits)
    yield from masked(x, RING_BITS)
    raw, _ = yield from evaluate(x, series)
    guess = yield from truncate(raw, frac_bits)
    for step in range(STEPS):
        last = step == STEPS - 1
        guess = yield from _step(x, guess, name, frac_bits, check=last)
    return guess


def _step(x: Shared, guess: Shared, name: str, frac_bits: int, *, check: bool) -> Protocol[Shared]:
    """Return y + y e (reciprocal, e = 1 - x y) or y + y e / 2 (inverse root, e = 1 - x y^2)."""
    if name == "reciprocal":
        scaled, halving = (yield from product(x, guess, "mul")), 0
    else:
        power = yield from square(guess)
        power = yield from truncate(power, _square_bits(x, frac_bits))
        scaled, halving = (yield from product(x, power, "mul")), 1
    near_one = yield from truncate(scaled, RESIDUAL_BITS)
    one = (1 << RESIDUAL_BITS) if current().rank == 0 else 0
    residual = Shared(one - near_one.share, RESIDUAL_BITS)
    change = yield from product(guess, residual, "mul")
    if check:
        wire = yield from masked(residual, RING_BITS)
        checks.expect_near_zero(residual, wire, RESIDUAL_LIMIT)
    change = Shared(change.share, change.frac_bits + halving)
    change = yield from truncate(change, frac_bits)
    return Shared(guess.share + change.share, frac_bits)


RESIDUAL_BITS = 22


def _square_bits(x: Shared, frac_bits: int) -> int:
    return min(2 * frac_bits, max(frac_bits, 60 - x.frac_bits - 16))


def result_bits(largest: float, total_bits: int = 24) -> int:
    """Return the fractional bits that give a value of at most ``largest`` about ``total_bits`` significant bits."""
    return max(8, min(30, total_bits - math.ceil(math.log2(max(largest, 2**-20)))))
