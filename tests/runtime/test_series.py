"""Fitted series reach their tolerance over the whole range and one window beyond, on shares as on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mpccompile.errors import MpcCompileError
from mpccompile.runtime import series as fitting
from mpccompile.runtime.series import (
    COEFFICIENT_SCALE_BITS,
    FUNCTIONS,
    LARGEST_VALUE,
    ROUNDING_DEVIATIONS,
    Series,
    evaluate,
    fit,
    fit_relative,
)
from mpccompile.runtime.shared import Shared
from tests.runtime.pair import run_call, share, values

FRAC_BITS = 16
POINTS = 4001
CURVES = sorted(set(FUNCTIONS) - {"reciprocal", "rsqrt"})
INVERSES = ("reciprocal", "rsqrt")
CONSTANT_ROUNDING = 2.0**-COEFFICIENT_SCALE_BITS
"""The constant and the slope are rounded once more when they are added; far below any tolerance used here."""

SCOPES = [(-0.5, 0.5), (-4.0, 4.0), (-8.0, 3.0), (-13.7, 12.9), (0.001, 0.9), (-2.0, -1.0)]
TOLERANCES = [1e-3, 3e-5]
EXP_SCOPES = [(-8.0, 0.0), (-3.0, 3.0), (-16.0, 1.0), (0.0, 6.0)]
CASES = [(name, low, high) for name in CURVES for low, high in (EXP_SCOPES if name == "exp" else SCOPES)]
RELATIVE_CASES = [(0.5, 4.0, 2e-5), (0.5, 64.0, 4e-3), (8.0, 9.0, 1e-5), (0.01, 0.3, 4e-3), (1.0, 1000.0, 0.05)]


def exact(name: str, x: np.ndarray) -> np.ndarray:
    slope, rest = FUNCTIONS[name]
    return slope * x + rest(x)


def on_shares(series: Series, units: torch.Tensor) -> torch.Tensor:
    outcome = run_call(lambda x: evaluate(x, series), share(units, series.frac_bits))
    return values([result[0] for result in outcome.results])


def units_around(series: Series) -> torch.Tensor:
    """Return arguments all over the windows of the test and the one beyond each end, ends included."""
    window = 1 << series.window_bits
    first, last = series.origin - window, series.origin + (series.windows + 1) * window - 1
    inner = torch.tensor([series.origin, series.origin + series.windows * window])
    ends = torch.cat([torch.tensor([first, last]), inner - 1, inner])
    return torch.cat([torch.linspace(first, last, POINTS, dtype=torch.float64).round().long(), ends])


@pytest.mark.parametrize(("name", "low", "high"), CASES)
@pytest.mark.parametrize("tolerance", TOLERANCES)
def test_a_series_keeps_its_tolerance_on_shares(name, low, high, tolerance):
    wanted = tolerance * max(1.0, math.exp(high)) if name == "exp" else tolerance
    series = fit(name, low, high, wanted, FRAC_BITS)
    units = units_around(series)
    found = on_shares(series, units)
    right = torch.from_numpy(exact(name, units.double().numpy() * 2.0**-FRAC_BITS))
    assert float((found - right).abs().max()) <= wanted + CONSTANT_ROUNDING
    assert series.error <= wanted


@pytest.mark.parametrize(("name", "low", "high"), CASES)
def test_the_windows_cover_the_range_and_their_margin_fits_the_period(name, low, high):
    series = fit(name, low, high, 0.5, FRAC_BITS)
    window = 1 << series.window_bits
    assert series.origin <= low * (1 << FRAC_BITS)
    # The range is centred to within the rounding of the origin.
    assert series.origin + series.windows * window >= high * (1 << FRAC_BITS) - 1
    assert (series.windows + 2) * window < 1 << series.period_bits


@pytest.mark.parametrize("frac_bits", [8, 12, 20, 26])
def test_a_series_serves_any_number_of_fractional_bits(frac_bits):
    series = fit("silu", -6.0, 6.0, 1e-4, frac_bits)
    units = units_around(series)
    right = torch.from_numpy(exact("silu", units.double().numpy() * 2.0**-frac_bits))
    assert float((on_shares(series, units) - right).abs().max()) <= 1e-4 + CONSTANT_ROUNDING


@pytest.mark.parametrize("name", INVERSES)
@pytest.mark.parametrize(("low", "high", "tolerance"), RELATIVE_CASES)
def test_an_inverse_keeps_its_relative_tolerance(name, low, high, tolerance):
    frac_bits = 20
    series = fit_relative(name, low, high, tolerance, frac_bits)
    first, last = math.ceil(low * (1 << frac_bits)), math.floor(high * (1 << frac_bits))
    units = torch.linspace(first, last, POINTS, dtype=torch.float64).round().long()
    right = torch.from_numpy(exact(name, units.double().numpy() * 2.0**-frac_bits))
    worst = float(((on_shares(series, units) - right) / right).abs().max())
    # The fit of an inverse counts one deviation of the roundings, and its result is verified.
    assert worst <= ROUNDING_DEVIATIONS * tolerance
    assert series.error <= tolerance


@pytest.mark.parametrize("name", CURVES)
def test_fitting_again_gives_the_same_coefficients(name):
    first = fit(name, -3.0, 3.0, 1e-3, FRAC_BITS)
    fit.cache_clear()
    again = fit(name, -3.0, 3.0, 1e-3, FRAC_BITS)
    assert again is not first
    assert again == first


@pytest.mark.parametrize(
    ("name", "low", "high", "tolerance"),
    [
        ("exp", 0.0, 11.0, 0.9),
        ("exp", 0.0, 800.0, 0.9),
        ("gelu", -60000.0, 60000.0, 0.9),
        ("sigmoid", 1.0, 1.0, 1e-3),
        ("sigmoid", 2.0, 1.0, 1e-3),
        ("tanh", math.nan, 1.0, 1e-3),
    ],
)
def test_an_impossible_fit_is_refused(name, low, high, tolerance):
    with pytest.raises(MpcCompileError, match=name):
        fit(name, low, high, tolerance, FRAC_BITS)


@pytest.mark.parametrize("name", INVERSES)
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0), (1e-12, 1.0), (1.0, 1e9)])
def test_an_impossible_inverse_is_refused(name, low, high):
    with pytest.raises(MpcCompileError, match=name):
        fit_relative(name, low, high, 1e-3, FRAC_BITS, 16)


def test_what_a_refusal_says_can_be_acted_on(monkeypatch):
    # All the numbers of harmonics up to 256 take seconds to fail.
    monkeypatch.setattr(fitting, "HARMONICS", (4, 8, 16))
    with pytest.raises(MpcCompileError, match=r"needs more than 256 harmonics .*example_inputs"):
        fit("tanh", -300.0, 300.0, 1e-4, FRAC_BITS)


def test_the_largest_value_that_is_let_through_survives_its_truncation():
    series = fit("exp", 0.0, 7.2, 4.0, FRAC_BITS)
    top = series.origin + (series.windows + 1) * (1 << series.window_bits) - 1
    largest = math.exp(top * 2.0**-FRAC_BITS)
    assert LARGEST_VALUE / 8 < largest < LARGEST_VALUE
    assert abs(float(on_shares(series, torch.tensor([top]))) - largest) <= 4.0


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 1, 2), (5, 7), (40000,)])
def test_a_series_takes_any_shape(shape):
    series = fit("tanh", -2.0, 2.0, 1e-4, FRAC_BITS)
    x = torch.rand(shape, dtype=torch.float64) * 4 - 2
    units = (x * 2**FRAC_BITS).round().long()
    found = on_shares(series, units)
    assert found.shape == x.shape
    assert torch.allclose(found, torch.tanh(units.double() * 2.0**-FRAC_BITS), rtol=0, atol=1e-4 + CONSTANT_ROUNDING)


def test_both_parties_turn_back_alike_whatever_their_layout():
    # Shares are uniform words: a public factor that differs by one unit between the parties makes the result random.
    series = fit("exp", 0.0, 6.0, 1e-2, FRAC_BITS)
    x = torch.rand(61, 37, dtype=torch.float64) * 6
    units = (x * 2**FRAC_BITS).round().long()
    one, two = share(units, FRAC_BITS)
    turned = Shared(two.share.T.contiguous().T, FRAC_BITS)
    outcome = run_call(lambda a: evaluate(a, series), (one, turned))
    found = values([result[0] for result in outcome.results])
    assert float((found - torch.exp(units.double() * 2.0**-FRAC_BITS)).abs().max()) <= 1e-2 + CONSTANT_ROUNDING
