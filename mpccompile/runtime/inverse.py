"""Reciprocal and inverse square root from one series, with the result itself verified.

The argument is one number a row, so a hundred harmonics cost little and reach the precision that Newton steps would
need several rounds for. What is tested is the residual 1 - x y (or 1 - x y^2) of the result, at the end of the call and
off its critical path: it bounds the relative error whatever x was, so the fit needs no margin.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace

from mpccompile.errors import MpcCompileError
from mpccompile.runtime import checks
from mpccompile.runtime.openings import masked, truncate
from mpccompile.runtime.party import Protocol, current
from mpccompile.runtime.products import product, square
from mpccompile.runtime.scaling import LOWEST, STEP_BITS, scale_of, scaled
from mpccompile.runtime.series import TESTED_BITS, Series, evaluate, fit_relative
from mpccompile.runtime.shared import Shared

ACCURACY = 2e-5
"""Relative error of an inverse; one unit of a 16-bit value is 1.5e-5."""
ATTEMPTS = ((ACCURACY, 96), (ACCURACY**0.5, 128))
LAST_ATTEMPT = (0.05, 256)
"""Relative error of the series and the most harmonics for it, with 0, 1 and 2 Newton steps to follow."""
WIDEST = {"reciprocal": 1000.0, "rsqrt": 2000.0}
"""Largest ratio of the ends of a range that a series is fitted on: with ``LAST_ATTEMPT`` 1300 and 2000 always were.
Wider ranges are scaled by comparisons first, which cost nine rounds and no accuracy."""
RESIDUAL_LIMIT = 2.0**-9
"""Largest residual that passes for sure; up to 1.5 times as much may. Inside the calibrated range it is below 1e-4."""
RESIDUAL_BITS = 22
RESIDUAL_WINDOWS = 4
DIVISION_BITS = 12
"""Fractional bits of 1 / numerator in a Newton step, whose residual is small: the 24 bits of an inverse, 22 of the
residual and these stay below the 61 that truncation takes."""


def reciprocal(x: Shared, low: float, high: float, frac_bits: int) -> Protocol[Shared]:
    """Return 1 / x for x in [low, high], low > 0.

    Args:
        x: The argument, at any number of fractional bits.
        low: Lower end of the calibrated range.
        high: Upper end.
        frac_bits: Fractional bits of the result, whose largest value is 1 / low.
    """
    if high / low <= WIDEST["reciprocal"]:
        return (yield from _inverse(x, "reciprocal", low, high, frac_bits))
    scale = yield from scale_of(x, low, high)
    normal = yield from scaled(x, scale, result_bits(high))
    inverse = yield from _inverse(normal, "reciprocal", high * LOWEST, high, result_bits(1 / (high * LOWEST)))
    result = yield from product(inverse, scale.factor(), "mul")
    return (yield from truncate(result, min(result.frac_bits, frac_bits)))


def rsqrt(x: Shared, low: float, high: float, frac_bits: int, numerator: float = 1.0) -> Protocol[Shared]:
    """Return (x / numerator)^(-1/2) for x in [low, high], low > 0; other arguments as in :func:`reciprocal`.

    A public numerator in [1, 2) costs nothing: it scales the series and moves what the residual is compared with.
    """
    if high / low <= WIDEST["rsqrt"]:
        return (yield from _inverse(x, "rsqrt", low, high, frac_bits, numerator))
    scale = yield from scale_of(x, low, high)
    normal = yield from scaled(x, scale, result_bits(high))
    bits = result_bits((high * LOWEST) ** -0.5)
    inverse = yield from _inverse(normal, "rsqrt", high * LOWEST, high, bits, numerator)
    result = yield from product(inverse, scale.factor(STEP_BITS // 2), "mul")
    return (yield from truncate(result, min(result.frac_bits, frac_bits)))


def _inverse(x: Shared, name: str, low: float, high: float, frac_bits: int, numerator: float = 1.0) -> Protocol[Shared]:
    series, steps = first_guess(name, low, high, x.frac_bits)
    raw, _ = yield from evaluate(x, _times(series, math.sqrt(numerator)))
    result = yield from truncate(raw, frac_bits)
    for _ in range(steps):
        near = yield from _near_numerator(x, result, name)
        result = yield from _newton(result, near, numerator, 0 if name == "reciprocal" else 1)
    checks.verify_later(lambda: _verification(x, result, name, numerator))
    return result


def _times(series: Series, factor: float) -> Series:
    cosine, sine = (tuple(factor * value for value in values) for values in (series.cosine, series.sine))
    return replace(series, constant=factor * series.constant, cosine=cosine, sine=sine)


@functools.lru_cache(maxsize=512)
def first_guess(name: str, low: float, high: float, frac_bits: int) -> tuple[Series, int]:
    """Return the series, and how many Newton steps it needs: none, unless the range is too wide for the series alone.

    Raises:
        MpcCompileError: If not even a guess with a relative error of 0.05 can be fitted.
    """
    for steps, (error, harmonics) in enumerate(ATTEMPTS):
        try:
            return fit_relative(name, low, high, error, frac_bits, harmonics), steps
        except MpcCompileError:
            continue
    error, harmonics = LAST_ATTEMPT
    return fit_relative(name, low, high, error, frac_bits, harmonics), len(ATTEMPTS)


def _near_numerator(x: Shared, y: Shared, name: str) -> Protocol[Shared]:
    """Return x y or x y^2, with ``RESIDUAL_BITS`` fractional bits."""
    factor = y
    if name == "rsqrt":
        power = yield from square(y)
        factor = yield from truncate(power, min(power.frac_bits, max(y.frac_bits, 44 - x.frac_bits)))
    scaled = yield from product(x, factor, "mul")
    return (yield from truncate(scaled, RESIDUAL_BITS))


def _newton(y: Shared, near: Shared, numerator: float, halvings: int) -> Protocol[Shared]:
    """Return y + y e / 2^halvings, e = 1 - near / numerator."""
    wanted = round(numerator * (1 << RESIDUAL_BITS)) if current().rank == 0 else 0
    change = yield from product(y, Shared(wanted - near.share, RESIDUAL_BITS), "mul")
    divided = Shared(change.share * round((1 << DIVISION_BITS) / numerator), change.frac_bits + DIVISION_BITS)
    change = yield from truncate(Shared(divided.share, divided.frac_bits + halvings), y.frac_bits)
    return Shared(y.share + change.share, y.frac_bits)


def _verification(x: Shared, y: Shared, name: str, numerator: float) -> Protocol[None]:
    near = yield from _near_numerator(x, y, name)
    low = round((numerator - RESIDUAL_LIMIT) * (1 << RESIDUAL_BITS))
    window_bits = round(math.log2(2 * RESIDUAL_LIMIT * (1 << RESIDUAL_BITS) / RESIDUAL_WINDOWS))
    # An exact truncation left a masked opening behind, narrower than one that had to be made.
    wire = near.wires[0] if near.wires else (yield from masked(near, TESTED_BITS))
    checks.expect_window(wire, low, RESIDUAL_WINDOWS, window_bits)


def result_bits(largest: float, total_bits: int = 24) -> int:
    """Return the fractional bits that give a value of at most ``largest`` about ``total_bits`` significant bits."""
    return max(8, min(30, total_bits - math.ceil(math.log2(max(largest, 2**-20)))))
