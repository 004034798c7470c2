"""A value in range is never reported, one beyond the margin always is, and nothing in between is wrong."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from mpccompile.errors import RangeExceeded
from mpccompile.runtime import checks
from mpccompile.runtime import functions as mpc
from mpccompile.runtime.openings import masked
from mpccompile.runtime.series import TESTED_BITS, fit, passing_range
from tests.runtime.checked import checked, verdict
from tests.runtime.pair import Prepared, run_call, share

FRAC_BITS = 16
UNIT = 2.0**-FRAC_BITS
TOLERANCE = 1e-4
SERIES_BOUND = 3 * TOLERANCE + 2 * UNIT
"""The fit keeps the tolerance, the rounding of its evaluation takes at most twice as much, truncation one unit."""
LOW, HIGH = -8.0, 8.0
LARGEST = 2.0 ** (TESTED_BITS - 1 - FRAC_BITS) * 0.99
"""Just below what a tested opening can tell from a value in range."""


def gelu(x):
    return mpc.gelu(x, scope=(LOW, HIGH), tolerance=TOLERANCE)


def exact_gelu(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.gelu(x.double())


def row_with(value: float, size: int = 40) -> torch.Tensor:
    """Return values in range with one other among them."""
    row = torch.linspace(LOW, HIGH, size, dtype=torch.float64)
    row[size // 3] = value
    return row


# ------------------------------------------------------------------------------------------------------------ windows


@pytest.mark.parametrize("scope", [(-8.0, 8.0), (-0.6, 0.4), (2.0, 3.0), (-100.0, -3.0)])
def test_values_in_range_are_never_reported(scope):
    low, high = scope
    x = torch.rand(20_000, dtype=torch.float64) * (high - low) + low
    x[:4] = torch.tensor([low, high, low + UNIT, high - UNIT])
    series = fit("silu", low, high, 1e-3, FRAC_BITS)

    def program(a):
        for _ in range(4):
            wire = yield from masked(mpc.neg(mpc.neg(a)), TESTED_BITS)
            checks.expect_window(wire, series.origin, series.windows, series.window_bits)
        yield from checks.finish()
        return a

    for _ in range(2):
        run_call(program, share(x))


def around(edge: float) -> list[float]:
    return [edge + step * UNIT for step in (-1, 0, 1)]


LAST_POWERS = 20


def far_values() -> list[float]:
    """Return values outside of the margin: just outside, around every power of two, and where windows repeat."""
    low, high = passing_range(LOW, HIGH, FRAC_BITS)
    window_bits = fit("gelu", LOW, HIGH, TOLERANCE, FRAC_BITS).window_bits
    found = [low - UNIT, high + UNIT, low - 1, high + 1]
    for power in range(5, TESTED_BITS - FRAC_BITS - 1):
        found += [
            2.0**power,
            -(2.0**power),
            2.0**power + HIGH / 2,
            *(around(2.0**power) if power > LAST_POWERS else []),
        ]
    # A polynomial with a root in every window of the period would take these for values in range.
    period = 2.0 ** (window_bits + 4 - FRAC_BITS)
    found += [0.5 + count * period for count in (1, -1, 2, 3, 1 << 10, 1 << 24)]
    found += [LARGEST, -LARGEST, LARGEST / 3]
    return sorted({value for value in found if not low <= value < high and abs(value) <= LARGEST})


@pytest.fixture(scope="module")
def prepared_gelu():
    return Prepared(checked(gelu), share(row_with(0.0)))


@pytest.mark.parametrize("value", far_values())
def test_one_value_beyond_the_margin_is_always_reported(prepared_gelu, value):
    assert verdict(prepared_gelu, share(row_with(value))) is None


@pytest.mark.parametrize("gap", [2.0**power for power in (*range(4, 26, 2), *range(26, 31))])
def test_equal_violations_do_not_cancel(prepared_gelu, gap):
    # Modulo the ring of the test, polynomials that hold half of it add up to zero.
    for count in (2, 4):
        x = row_with(0.0)
        x[:count] = gap
        assert verdict(prepared_gelu, share(x)) is None


def test_near_misses_are_reported_or_right(prepared_gelu):
    low, high = passing_range(LOW, HIGH, FRAC_BITS)
    passed = []
    for edge, beyond in ((LOW, low), (HIGH, high)):
        for fraction in torch.linspace(0, 1, 30).tolist():
            x = row_with(edge + (beyond - edge) * fraction)
            result = verdict(prepared_gelu, share(x))
            passed.append(result is not None)
            if result is not None:
                assert float((result - exact_gelu(x)).abs().max()) <= SERIES_BOUND
    assert any(passed)
    assert not all(passed)


def test_a_large_tensor_of_near_misses_is_reported():
    _, high = passing_range(LOW, HIGH, FRAC_BITS)
    assert verdict(gelu, share(torch.full((5000,), high - 0.01))) is None


@pytest.mark.parametrize("windows", range(1, 12))
def test_no_polynomial_vanishes_where_the_wide_window_lets_values_pass(windows):
    # The wide window lets through what is less than 1.5 of it from the middle.
    reach = 1.5 * (1 << checks.COARSE_BITS)
    nearby = range(math.floor(windows / 2 - reach) - 1, math.ceil(windows / 2 + reach) + 2)
    places = [u for u in nearby if not 0 <= u <= windows]
    products = [math.prod(u - root for root in range(windows + 1)) for u in places]
    # The polynomials of a test are taken modulo 2^20 or more.
    assert max((value & -value).bit_length() - 1 for value in products) <= 12


def test_only_masks_what_is_not_used():
    keep = torch.ones(40, dtype=torch.bool)
    keep[40 // 3] = False

    def program(a, only):
        wire = yield from masked(a, TESTED_BITS)
        checks.expect_window(wire, round(LOW / UNIT), 8, 17, only=only)
        yield from checks.finish()
        return a

    run_call(program, share(row_with(1e6)), keep)
    with pytest.raises(RangeExceeded):
        run_call(program, share(row_with(1e6)), torch.ones(40, dtype=torch.bool))
    with pytest.raises(RangeExceeded):
        run_call(program, share(row_with(1e6)), ~keep)


# ----------------------------------------------------------------------------------------------------------- messages


def statements(x, y):
    first = mpc.gelu(x, scope=(LOW, HIGH), tolerance=TOLERANCE)
    second = mpc.tanh(y, scope=(-2.0, 2.0), tolerance=TOLERANCE)
    third = mpc.reciprocal(y, scope=(0.5, 2.0))
    mpc.check_ranges()
    return [first, second, third]


def line_of(statement: int) -> str:
    return f"model.py:{statements.__code__.co_firstlineno + 1 + statement}"


@pytest.mark.parametrize(
    ("x", "y", "wrong"),
    [(0.0, 1.0, []), (20.0, 1.0, [0]), (0.0, 3.7, [1, 2]), (20.0, 0.1, [0, 2]), (-30.0, -7.0, [0, 1, 2])],
)
def test_the_error_names_the_statements_at_fault(x, y, wrong):
    arguments = [share(torch.full((3,), value, dtype=torch.float64)) for value in (x, y)]
    if not wrong:
        run_call(statements, *arguments)
        return
    with pytest.raises(RangeExceeded) as caught:
        run_call(statements, *arguments)
    assert caught.value.where == ", ".join(line_of(statement) for statement in wrong)
    assert "range_margin" in caught.value.hint


def test_a_program_without_ranges_opens_nothing_to_check_them():
    outcome = run_call(checked(mpc.relu), share(torch.ones(3)))
    assert len(outcome.channels[0].sent) == len(run_call(mpc.relu, share(torch.ones(3))).channels[0].sent)


def test_a_call_after_a_reported_one_starts_afresh():
    assert verdict(gelu, share(row_with(50.0))) is None
    assert verdict(gelu, share(row_with(5.0))) is not None


def test_all_tests_of_a_call_share_two_rounds():
    def program(x, y):
        mpc.gelu(x, scope=(LOW, HIGH), tolerance=TOLERANCE)
        mpc.tanh(y, scope=(-2.0, 2.0), tolerance=TOLERANCE)
        return mpc.silu(x, scope=(LOW, HIGH), tolerance=TOLERANCE)

    arguments = [share(torch.zeros(3, dtype=torch.float64)) for _ in range(2)]
    rounds = [len(run_call(p, *arguments).channels[0].sent) for p in (program, checked(program))]
    assert rounds[1] == rounds[0] + 2


def test_the_sweeps_are_in_order():
    assert all(one < two for one, two in pairwise(far_values()))
    assert len(far_values()) > 80


# ---------------------------------------------------------------------------------------------------- narrow windows


def passes(x: int, low: int, windows: int, window_bits: int, bits: int) -> bool:
    """Say whether every test of a value comes out as zero, whichever way its mask rounds."""
    middle = low + (windows << window_bits) // 2
    tests = [(low, windows, window_bits)]
    tests += [(middle - (1 << (wide - 1)), 1, wide) for wide in checks.wider_windows(window_bits, bits)]

    def zero(start: int, count: int, width: int, carry: int) -> bool:
        u = ((((x - start) % (1 << bits)) >> width) + carry) % (1 << (bits - width))
        return math.prod(u - factor for factor in range(count + 1)) % (1 << min(32, bits - width)) == 0

    return all(any(zero(*test, carry) for carry in (0, 1)) for test in tests)


@pytest.mark.parametrize("bits", [48, 56, 64])
@pytest.mark.parametrize("window_bits", [1, 4, 8, 12, 16, 24])
@pytest.mark.parametrize("windows", [2, 6, 11])
def test_no_value_of_the_ring_passes_but_those_near_the_range(bits, window_bits, windows):
    low = -(windows << window_bits) // 2
    first, last = low - (1 << window_bits), low + ((windows + 1) << window_bits)
    for inside in (low, 0, low + (windows << window_bits) - 1):
        assert passes(inside, low, windows, window_bits, bits)
    half = 1 << (bits - 1)
    far = {sign * (1 << power) + near for power in range(bits) for sign in (1, -1) for near in (first, -1, 0, 1, last)}
    far |= {count << power for count in (3, 5, 7) for power in range(bits - 3)}
    for value in far:
        wrapped = (value + half) % (1 << bits) - half
        if not first <= wrapped < last:
            assert not passes(wrapped, low, windows, window_bits, bits), wrapped


@pytest.mark.parametrize(("frac_bits", "scope"), [(8, (-1.0, 1.0)), (16, (-0.02, 0.02))])
def test_a_value_far_beyond_a_narrow_range_is_reported(frac_bits, scope):
    def program(a):
        return mpc.gelu(a, scope=scope, tolerance=1e-2)

    def run(value):
        x = torch.full((5,), scope[1] / 2, dtype=torch.float64)
        x[3] = value
        run_call(checked(program), share(x, frac_bits), frac_bits=frac_bits)

    run(scope[0] / 3)
    for power in range(2, TESTED_BITS - 2 - frac_bits):
        with pytest.raises(RangeExceeded):
            run(2.0**power)
