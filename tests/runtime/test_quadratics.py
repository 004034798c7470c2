"""Quadratics agree with their meaning up to the ends of a range, and beyond it the run stops."""

from __future__ import annotations

import pytest
import torch

from mpccompile.errors import MpcCompileError, RangeExceeded
from mpccompile.ir import ops
from mpccompile.runtime import functions as mpc
from mpccompile.runtime.openings import truncate
from mpccompile.runtime.quadratics import coefficient_bits, largest_value, passing_square
from tests.runtime.pair import plan_of, run_call, share, values

UNIT = 2.0**-16
QUAD = (0.125, 0.25, 0.5)


def private(x, coefficients, **keywords):
    def program(a):
        result = mpc.quadratic(a, *coefficients, **keywords)
        mpc.check_ranges()
        return result

    return values(run_call(program, share(x)).results)


@pytest.mark.parametrize("scope", [(-1.0, 1.0), (-8.0, 8.0), (-3.0, 21.0), (-40.0, 40.0), (-500.0, 500.0)])
@pytest.mark.parametrize("coefficients", [QUAD, (1.0, 0.0, 0.0), (-0.5, 3.0, -7.25), (0.1, -0.3, 0.7)])
def test_quadratic_up_to_the_ends_of_its_range(scope, coefficients):
    x = torch.linspace(*scope, 301, dtype=torch.float64)
    x = (x / UNIT).round() * UNIT
    bound = 2.0 ** torch.tensor(largest_value(coefficients, max(map(abs, passing_square(*scope, 16))))).log2().ceil()
    rounded = tuple(round(v * 2**12) / 2**12 for v in coefficients[:2])
    expected = ops.quadratic(x, *rounded, coefficients[2])
    result = private(x, coefficients, scope=scope, bound=float(bound))
    assert float((result - expected).abs().max()) <= 2 * UNIT


@pytest.mark.parametrize("size", [0.0, 1.0, 60.0])
def test_a_proven_bound_needs_no_test(size):
    x = torch.linspace(-size, size, 65, dtype=torch.float64)
    x = (x / UNIT).round() * UNIT
    assert float((private(x, QUAD, bound=512.0) - ops.quadratic(x, *QUAD)).abs().max()) <= UNIT
    plan = plan_of(lambda a: mpc.quadratic(a, *QUAD, bound=512.0), share(x))
    assert not [step for step in plan.steps if step.kind == "falling"]


@pytest.mark.parametrize("x", [33.0, -40.0, 1e3, -1e6, 2.0**29])
def test_a_value_beyond_its_range_stops_the_run(x):
    with pytest.raises(RangeExceeded):
        private(torch.tensor([0.5, x]), QUAD, scope=(-8.0, 8.0), bound=256.0)


def test_the_opening_of_a_truncation_serves():
    def program(a):
        return mpc.quadratic(a, *QUAD, scope=(-8.0, 8.0), bound=256.0)

    def after_a_product(a):
        yield from truncate(a, 16)

    raw = share(torch.linspace(-8, 8, 5), 32)
    alone = plan_of(program, share(torch.linspace(-8, 8, 5)))
    assert (sum(row.rounds for row in alone.traffic), alone.traffic[0].bytes_sent[0]) == (2, 2 * 6 * 5)
    follows = plan_of(program, raw)
    before = plan_of(after_a_product, raw)
    sent = [sum(max(row.bytes_sent) for row in plan.traffic) for plan in (follows, before)]
    assert sent[0] - sent[1] == 6 * 5


@pytest.mark.parametrize(("reach", "fits"), [(2000.0, True), (1e5, False)])
def test_a_range_that_no_ring_holds_is_refused(reach, fits):
    x = share(torch.zeros(3))
    if fits:
        assert plan_of(lambda a: mpc.quadratic(a, *QUAD, scope=(-reach, reach)), x)
    else:
        with pytest.raises(MpcCompileError, match="has to stay below"):
            plan_of(lambda a: mpc.quadratic(a, *QUAD, scope=(-reach, reach)), x)


def test_powers_of_two_go_into_the_truncation():
    assert coefficient_bits(0.125, 0.25) == 3
    assert coefficient_bits(1.0, -2.0) == 0
    assert coefficient_bits(0.1, 0.5) == 12


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (-3.0, 21.0), (5.0, 5.5), (-40.0, 3.0)])
def test_what_passes_is_at_most_four_times_as_far_from_the_middle(low, high):
    start, end = passing_square(low, high, 16)
    middle, half = (low + high) / 2, (high - low) / 2
    assert start + end == pytest.approx(2 * middle)
    assert 2 * half <= end - middle <= 4 * half
