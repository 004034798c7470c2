"""Functions of one variable in no more than one round: a short Fourier series of a masked value.

On a range, f(x) is approximated by c + s x + sum_k a_k cos(k w x) + b_k sin(k w x) with period 2^p ring units, longer
than the range (a Fourier extension). The value is opened as d = x + r modulo 2^p, which is uniform; angle addition
with the dealt shares of cos(k w r) and sin(k w r) makes everything else local.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController
from torch import Tensor

from mpccompile.errors import MpcCompileError
from mpccompile.runtime.kernels import waves
from mpccompile.runtime.kernels.waves import Turn
from mpccompile.runtime.openings import HEADROOM_BITS, RING_BITS, draw, masked
from mpccompile.runtime.party import Protocol, current
from mpccompile.runtime.shared import Shared, Wire

Array = NDArray[np.float64]

MASK_SCALE_BITS = 24
"""Fractional bits of the dealt sines and cosines, and of the public factors below: rounding adds about 2^-25 times the
coefficients' norm, and 2^-23 for each of the terms; both stay below the 2^-17 of a truncated result."""
COEFFICIENT_SCALE_BITS = 22
ROUNDING_DEVIATIONS = 6.0
"""Standard deviations of the roundings' sum that count as its largest value: one element in 5e8 is further out. An
inverse counts one: its result is verified, and its fit aims at less than a unit in the last place."""
SCALE_BITS = MASK_SCALE_BITS + COEFFICIENT_SCALE_BITS
LARGEST_VALUE = 2.0 ** (RING_BITS - HEADROOM_BITS - SCALE_BITS)
"""A result of ``SCALE_BITS`` fractional bits has to be truncated."""
MAX_HARMONICS = 256
FEWEST_WINDOWS, MOST_WINDOWS = 6, 11
"""A range is cut into 6 to 11 windows, whichever makes them narrow: the test lets through at most one window beyond
each end, so the fit covers one more on either side, and 8 to 13 windows fit a period of 16."""
PERIOD_WINDOWS_BITS = 4


def _normal_cdf(x: Array) -> Array:
    erf: Array = np.vectorize(math.erf)(x / math.sqrt(2))
    return 0.5 * (1 + erf)


def _gelu_tanh_even(x: Array) -> Array:
    return 0.5 * x * np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


FUNCTIONS: dict[str, tuple[float, Callable[[Array], Array]]] = {
    "gelu": (0.5, lambda x: x * (_normal_cdf(x) - 0.5)),
    "gelu_tanh": (0.5, _gelu_tanh_even),
    "silu": (0.5, lambda x: 0.5 * x * np.tanh(x / 2)),
    "tanh": (0.0, np.tanh),
    "sigmoid": (0.0, lambda x: 0.5 + 0.5 * np.tanh(x / 2)),
    "exp": (0.0, np.exp),
    "reciprocal": (0.0, lambda x: 1 / x),
    "rsqrt": (0.0, lambda x: x**-0.5),
}
"""Name -> (slope s taken out before the fit, the rest of the function)."""


@dataclass(frozen=True)
class Series:
    """A fitted series; angles are measured from ``origin``.

    Attributes:
        origin: Zero of the angle, in ring units.
        period_bits: log2 of the period in ring units, and so the bits an opening takes.
        windows: How many windows the range is cut into; 0 when the range is checked otherwise.
        window_bits: log2 of a window of the range test in ring units.
        frac_bits: Fractional bits of the argument.
        slope: Coefficient of x.
        constant: Constant term.
        cosine: Coefficients a_k.
        sine: Coefficients b_k.
        error: Worst (weighted) error found on the fitted range, with the rounding of the dealt waves.
    """

    origin: int
    period_bits: int
    windows: int
    window_bits: int
    frac_bits: int
    slope: float
    constant: float
    cosine: tuple[float, ...]
    sine: tuple[float, ...]
    error: float


@dataclass(frozen=True)
class _Region:
    low: float
    high: float
    origin: int
    period_bits: int
    windows: int
    window_bits: int
    frac_bits: int


def _windows(low: float, high: float, frac_bits: int) -> tuple[float, float, int, int]:
    """Return the range widened to whole windows, how many there are, and log2 of their width in ring units."""
    width = (high - low) * (1 << frac_bits)
    window_bits = max(1, math.ceil(math.log2(width / MOST_WINDOWS)))
    windows = max(FEWEST_WINDOWS, math.ceil(width / (1 << window_bits)))
    half = windows / 2 * 2.0 ** (window_bits - frac_bits)
    return (low + high) / 2 - half, (low + high) / 2 + half, windows, window_bits


def passing_range(low: float, high: float, frac_bits: int) -> tuple[float, float]:
    """Return the range outside of which the test of a series fitted for [low, high] surely fails."""
    start, end, _, window_bits = _windows(low, high, frac_bits)
    window = 2.0 ** (window_bits - frac_bits)
    return start - window, end + window


@functools.lru_cache(maxsize=512)
def fit(name: str, low: float, high: float, tolerance: float, frac_bits: int) -> Series:
    """Fit the function ``name`` on [low, high] and one window beyond each end, for a series with a window test.

    Args:
        name: A key of :data:`FUNCTIONS`.
        low: Lower end of the calibrated range.
        high: Upper end.
        tolerance: Largest absolute error wanted.
        frac_bits: Fractional bits of the argument.

    Raises:
        MpcCompileError: If 256 harmonics do not reach the tolerance.
    """
    expect_range(name, low, high)
    start, end, windows, window_bits = _windows(low, high, frac_bits)
    window = 2.0 ** (window_bits - frac_bits)
    origin = math.floor(start * (1 << frac_bits))
    period_bits = window_bits + PERIOD_WINDOWS_BITS
    region = _Region(start - window, end + window, origin, period_bits, windows, window_bits, frac_bits)
    return _grow(name, region, tolerance, np.ones_like)


@functools.lru_cache(maxsize=512)
def fit_relative(
    name: str, low: float, high: float, tolerance: float, frac_bits: int, most_harmonics: int = MAX_HARMONICS
) -> Series:
    """Fit ``reciprocal`` or ``rsqrt`` on [low, high], low > 0, to a *relative* error.

    What gets checked is the result, so the fit needs no margin beyond the range.

    Raises:
        MpcCompileError: If ``most_harmonics`` do not reach the tolerance.
    """
    expect_range(name, low, high)
    origin = math.floor(low * (1 << frac_bits))
    period_bits = math.ceil(math.log2(1.25 * (high - low) * (1 << frac_bits) + 2))
    region = _Region(low, high, origin, period_bits, 0, 0, frac_bits)
    power = {"reciprocal": 1.0, "rsqrt": 0.5}[name]
    return _grow(name, region, tolerance, lambda x: x**power, most_harmonics)


HARMONICS = (*range(4, 25), 28, 32, 40, 48, 64, 80, 96, 128, 160, 192, MAX_HARMONICS)


def _grow(
    name: str,
    region: _Region,
    tolerance: float,
    weight: Callable[[Array], Array],
    most_harmonics: int = MAX_HARMONICS,
) -> Series:
    expect_range(name, region.low, region.high)
    best = math.inf
    for harmonics in (count for count in HARMONICS if count <= most_harmonics):
        for ridge in RIDGES:
            with _FITTING, _BLAS.limit(limits=1, user_api="blas"):
                series = _least_squares(name, region, harmonics, weight, ridge)
            if series.error <= tolerance:
                return series
            best = min(best, series.error)
    raise MpcCompileError(
        f"{name} on [{region.low:.4g}, {region.high:.4g}] needs more than {most_harmonics} harmonics for an error of"
        f" {tolerance:.1e} (reached {best:.1e})",
        hint="Give representative example_inputs so that the range is narrower, or raise tolerance.",
    )


def expect_range(name: str, low: float, high: float) -> None:
    """Refuse a range that is empty, or on which the function is undefined or too large to be truncated."""
    slope, rest = FUNCTIONS[name]
    grid = np.linspace(low, high, 101)
    with np.errstate(all="ignore"):
        largest = float(np.max(np.abs(slope * grid + rest(grid))))
    defined = low > 0 or name not in {"reciprocal", "rsqrt"}
    if not (low < high and defined and largest < LARGEST_VALUE):
        raise MpcCompileError(
            f"{name} on [{low:.4g}, {high:.4g}] has no protocol: the range must not be empty, and the values must exist"
            f" and stay below {LARGEST_VALUE:.0f}",
            hint="Give representative example_inputs.",
        )


_FITTING = threading.Lock()
"""The limit below is the process's: one thread at a time sets it and puts it back."""
_BLAS = ThreadpoolController()
"""A fit is too small for several threads: on two busy cores they wait for each other, ten times as long as it takes."""
RIDGES = (1e-10, 1e-8, 1e-6, 1e-4)
"""Weights of the coefficients' size in the fit, tried in turn: a free extension's coefficients reach 1e6 and multiply
the rounding of the dealt waves by as much."""


def _least_squares(
    name: str, region: _Region, harmonics: int, weight: Callable[[Array], Array], ridge_weight: float
) -> Series:
    slope, rest = FUNCTIONS[name]
    middle, half = (region.low + region.high) / 2, (region.high - region.low) / 2
    grid = middle + half * np.cos(np.linspace(0, np.pi, 16 * harmonics + 64))
    rows = weight(grid)[:, None] * _basis(grid, region, harmonics)
    ridge = ridge_weight * math.sqrt(len(grid)) * np.eye(rows.shape[1])
    wanted = np.concatenate([weight(grid) * rest(grid), np.zeros(rows.shape[1])])
    solution = np.linalg.lstsq(np.vstack([rows, ridge]), wanted, rcond=None)[0]
    check = np.unique(np.concatenate([np.linspace(region.low, region.high, 40 * harmonics + 201), grid]))
    missed = weight(check) * (_basis(check, region, harmonics) @ solution - rest(check))
    deviations = ROUNDING_DEVIATIONS if region.windows else 1.0
    return Series(
        region.origin,
        region.period_bits,
        region.windows,
        region.window_bits,
        region.frac_bits,
        slope,
        float(solution[0]),
        tuple(float(a) for a in solution[1 : harmonics + 1]),
        tuple(float(b) for b in solution[harmonics + 1 :]),
        float(np.max(np.abs(missed)) + deviations * np.max(weight(check)) * _rounding(solution, harmonics)),
    )


def _rounding(solution: Array, harmonics: int) -> float:
    """Return the deviation that rounding waves and factors adds; each is uniform, and a wave averages 0.5^0.5."""
    waves = float(np.linalg.norm(solution[1:])) * 2.0**-MASK_SCALE_BITS
    factors = math.sqrt(2 * harmonics) * 2.0**-COEFFICIENT_SCALE_BITS
    return math.hypot(waves, factors) / math.sqrt(12 * 2)


def _basis(x: Array, region: _Region, harmonics: int) -> Array:
    scale = 2.0**region.frac_bits
    turns = (x * scale - region.origin) / 2.0**region.period_bits
    angle = 2 * np.pi * turns[:, None] * np.arange(1, harmonics + 1)
    return np.hstack([np.ones((len(x), 1)), np.cos(angle), np.sin(angle)])


TESTED_BITS = 48
"""Width of an opening whose range is tested: what a truncation by 16 bits leaves, so mostly it costs nothing, and
enough to see values up to 2^47 ring units; the series itself uses the low ``period_bits``."""


@dataclass(frozen=True)
class Precision:
    """Fixed point of an evaluation: fractional bits of the dealt waves and of the public factors."""

    mask_bits: int
    factor_bits: int

    @property
    def bits(self) -> int:
        """Fractional bits of the value before truncation."""
        return self.mask_bits + self.factor_bits


FINE = Precision(MASK_SCALE_BITS, COEFFICIENT_SCALE_BITS)
COARSE = Precision(16, 16)
"""Leaves 32 fractional bits, so that truncating to 16 leaves a wire of 48 bits for the linear that follows."""
DEVIATIONS = 3.0


def precision_for(series: Series, tolerance: float) -> Precision:
    """Return the coarse precision if three standard deviations of its rounding stay within ``tolerance``."""
    norm = math.sqrt(sum(a * a for a in (*series.cosine, *series.sine)))
    factors = math.sqrt(2 * len(series.cosine)) * 2.0**-COARSE.factor_bits
    rounding = math.hypot(norm * 2.0**-COARSE.mask_bits, factors) / math.sqrt(12 * 2)
    return COARSE if DEVIATIONS * rounding <= tolerance else FINE


def evaluate(x: Shared, series: Series, precision: Precision = FINE) -> Protocol[tuple[Shared, Wire]]:
    """Evaluate a series on a secret.

    Args:
        x: The argument; its fractional bits must be those of the series.
        series: The fitted function.
        precision: Fixed point to work in.

    Returns:
        The value with ``precision.bits`` fractional bits, not truncated, and the wire of x that was used, for a
        range test.
    """
    wire = yield from masked(x, TESTED_BITS if series.windows else series.period_bits)
    harmonics = len(series.cosine)
    shape = (2 * harmonics, *x.shape)
    shares = draw("trigonometry", shape, wire.mask, params=(series.period_bits, harmonics, precision.mask_bits))
    turn = turn_of(series, precision, current().rank)
    share = turn_back(wire.delta, shares.share, turn, x.share if turn.slope else None)
    return Shared(share, precision.bits), wire


def turn_of(series: Series, precision: Precision, rank: int) -> Turn:
    """Return the series as the numbers that a party multiplies and adds; the constant is rank 0's."""
    unit = float(1 << precision.factor_bits)
    return Turn(
        series.origin,
        series.period_bits,
        tuple(a * unit for a in series.cosine),
        tuple(b * unit for b in series.sine),
        round(series.slope * (1 << (precision.bits - series.frac_bits))),
        round(series.constant * (1 << precision.bits)) if rank == 0 else 0,
    )


def turn_back(delta: Tensor, shares: Tensor, turn: Turn, x: Tensor | None) -> Tensor:
    """Return this party's share of a series from an opened value, or its shape while planning.

    Args:
        delta: Opened values, int64.
        shares: Of the waves of the mask, int64 in blocks.
        turn: The series.
        x: This party's share of the argument, or None where the slope is 0.
    """
    return torch.empty_like(delta) if delta.device.type == "meta" else waves.turn_back(delta, shares, turn, x)
