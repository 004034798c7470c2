"""Squares of values that lie in a known range, proven or tested, in the narrowest ring that holds them."""

from __future__ import annotations

import math
from typing import TypeVar

from torch import Tensor

from mpccompile.errors import MpcCompileError
from mpccompile.runtime import checks
from mpccompile.runtime.openings import HEADROOM_BITS, RING_BITS, masked
from mpccompile.runtime.party import Protocol, current
from mpccompile.runtime.products import needed_bits, wire_product
from mpccompile.runtime.series import TESTED_BITS
from mpccompile.runtime.shared import Shared

WINDOWS = 2
"""A square needs no narrow windows, as a fitted series does: two of them take three dealt words an element, not 7 to
12, and what passes is at most four times as far from the middle as what was asked for."""
MOST_COEFFICIENT_BITS = 12
"""Fractional bits of coefficients that are no multiples of a power of two; they are rounded to units of 2^-12."""


def _window_bits(low: float, high: float, frac_bits: int) -> int:
    """Return log2 of a window in ring units: half of the range, rounded up."""
    return max(1, math.ceil(math.log2((high - low) / WINDOWS * (1 << frac_bits))))


def passing_square(low: float, high: float, frac_bits: int) -> tuple[float, float]:
    """Return the range outside of which the test for [low, high] surely fails."""
    reach, middle = WINDOWS * 2.0 ** (_window_bits(low, high, frac_bits) - frac_bits), (low + high) / 2
    return middle - reach, middle + reach


def square_within(
    x: Shared, low: float, high: float, *, ring_bits: int, only: Tensor | None = None
) -> Protocol[Shared]:
    """Square a secret and test, for no message, that it lies in [low, high].

    A wire that a truncation left serves when it is wide enough; otherwise one opening. The test sees values up to 2^47
    ring units, as that of a series does.

    Args:
        x: A secret.
        low: Lower end of the calibrated range.
        high: Upper end.
        ring_bits: Width of the ring that the square, or what is made of it before a truncation, fits.
        only: Public bools: where False, the value is not used and not tested.

    Returns:
        The square, not truncated; its shares are right in the ring of the wire.

    Raises:
        MpcCompileError: If what passes the test may be too large to be squared.
    """
    expect_fits(2 * x.frac_bits, max(map(abs, passing_square(low, high, x.frac_bits))) ** 2)
    wire = yield from masked(x, max(ring_bits, TESTED_BITS))
    window_bits = _window_bits(low, high, x.frac_bits)
    origin = round((low + high) / 2 * (1 << x.frac_bits)) - (WINDOWS << window_bits) // 2
    checks.expect_window(wire, origin, WINDOWS, window_bits, only=only)
    return wire_product(wire, wire, "mul")


def expect_fits(frac_bits: int, largest: float) -> None:
    """Refuse a range on which a value of that many fractional bits could not be truncated.

    Raises:
        MpcCompileError: If it is too large for the widest ring.
    """
    if largest >= 2.0 ** (RING_BITS - HEADROOM_BITS - frac_bits):
        raise MpcCompileError(
            f"a square may reach {largest:.3g}, and with {frac_bits} fractional bits it has to stay below"
            f" {2.0 ** (RING_BITS - HEADROOM_BITS - frac_bits):.3g}",
            hint="Give representative example_inputs so that the range is narrower, or compile with fewer frac_bits.",
        )


Coefficients = tuple[float, float, float]


def quadratic(
    x: Shared, coefficients: Coefficients, scope: tuple[float, float] | None, bound: float | None
) -> Protocol[Shared]:
    """Return a x^2 + b x + c, not truncated.

    a and b become integers over one power of two, which the truncation that follows takes off with the rest: of
    0.125 x^2 + 0.25 x + 0.5 the ring holds x^2 + 2 x + 4, with three more fractional bits. The square is what x's
    masked opening gives, so nothing is sent but what is missing of that.

    Args:
        x: A secret at the program's fractional bits.
        coefficients: (a, b, c).
        scope: Calibrated range of x, to be tested; None where ``bound`` is proven, or nothing is known.
        bound: What |a| x^2 + |b x| + |c| is proven to stay below, for every x that passes the test if there is one.
    """
    a, b, c = coefficients
    scale_bits = coefficient_bits(a, b)
    frac_bits = 2 * x.frac_bits + scale_bits
    need = needed_bits(frac_bits, bound)
    if scope is None:
        wire = yield from masked(x, need)
        squared = wire_product(wire, wire, "mul")
    else:
        expect_fits(frac_bits, largest_value(coefficients, max(map(abs, passing_square(*scope, x.frac_bits)))))
        squared = yield from square_within(x, *scope, ring_bits=need)
    share = squared.share * round(a * (1 << scale_bits)) + (x.share << x.frac_bits) * round(b * (1 << scale_bits))
    if current().rank == 0:
        share = share + round(c * (1 << frac_bits))
    return Shared(share, frac_bits, bits=min(squared.bits, need))


def coefficient_bits(a: float, b: float) -> int:
    """Return the fewest fractional bits that hold both coefficients exactly, up to ``MOST_COEFFICIENT_BITS``."""
    exact = (bits for bits in range(MOST_COEFFICIENT_BITS) if all((v * (1 << bits)).is_integer() for v in (a, b)))
    return next(exact, MOST_COEFFICIENT_BITS)


Size = TypeVar("Size", float, Tensor)


def largest_value(coefficients: Coefficients, largest: Size) -> Size:
    """Return |a| x^2 + |b x| + |c| of the largest absolute x, a and b as they are rounded."""
    bits = coefficient_bits(*coefficients[:2])
    a, b = (abs(round(v * (1 << bits)) / (1 << bits)) for v in coefficients[:2])
    return a * largest * largest + b * largest + abs(coefficients[2])
