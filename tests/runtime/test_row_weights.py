"""2Quad and 2ReLU agree with their meaning, masked or not, and a value out of range stops the run."""

from __future__ import annotations

import pytest
import torch

from mpccompile.errors import RangeExceeded
from mpccompile.ir import ops
from mpccompile.runtime import functions as mpc
from mpccompile.runtime.forms import LEAST_TOTAL
from mpccompile.runtime.inverse import ACCURACY, result_bits
from mpccompile.runtime.row_weights import SQUARE_BITS, largest_weight
from tests.runtime.pair import plan_of, run_call, share, values
from tests.runtime.test_softmax import MASKS, scores

UNIT = 2.0**-16
TOLERANCE = 1e-4
INVERSE_BOUND = ACCURACY + 2.0**-19
"""Of one over a sum: that of the series, and what rounds its argument, of 24 bits and down to a 16th of its largest."""
EXACT_BOUND = INVERSE_BOUND + UNIT
"""Of 2ReLU's weights of exact scores: a sum is exact, however small, so that only its inverse and the result round."""
BOUND = 2e-4
"""Weights of 20 significant bits over an inverse within 2e-5, which a unit of its sum may add to."""


def scope_for(form, x, keep=None, *, secret=False):
    kept = torch.ones(x.shape, dtype=torch.bool) if keep is None else keep.expand(x.shape)
    seen = x[kept] if bool(kept.any()) else torch.zeros(1)
    if form == "2relu":
        totals = (LEAST_TOTAL, max(1.0, 2 * float((torch.relu(x) * kept).sum(-1).max())))
    else:
        count = x.shape[-1] if secret else kept.sum(-1).clamp(min=1)
        means = (((x + 5).square() * kept).sum(-1) / count)[kept.any(-1)]
        means = means if means.numel() else torch.ones(1)
        totals = (float(means.min()) / 2, float(means.max()) * 2)
    return mpc.SoftmaxRange(float(seen.min()) - 0.5, float(seen.max()) + 0.5, (totals,))


def private(form, x, keep, scope):
    def program(a, mask=None):
        result = mpc.softmax(a, mask, form, scope=scope, tolerance=TOLERANCE)
        mpc.check_ranges()
        return result

    arguments = (share(x),) if keep is None else (share(x), keep)
    return values(run_call(program, *arguments).results)


@pytest.mark.parametrize("columns", [1, 2, 16, 128])
@pytest.mark.parametrize("scale", [0.0, 0.3, 1.0, 4.0])
@pytest.mark.parametrize("form", ["2quad", "2relu"])
def test_rows_of_any_spread(form, scale, columns):
    x = scores(6, columns, scale)
    scope = scope_for(form, x)
    gap = (private(form, x, None, scope) - ops.softmax(x, None, form)).abs()
    if form == "2relu":
        assert float(gap.max()) <= BOUND
        return
    # A weight is rounded to 22 bits of the largest there may be, and a row whose weights are small sees it.
    unit = 2.0 ** -result_bits(largest_weight(form, scope, 16), SQUARE_BITS)
    assert bool((gap <= BOUND + unit / (x + 5).square().sum(-1, keepdim=True)).all())


@pytest.mark.parametrize("form", ["2quad", "2relu"])
@pytest.mark.parametrize("name", MASKS)
def test_masked_entries_are_zero_and_the_others_add_up(form, name):
    keep = MASKS[name]
    x = scores(2 * 24, 24, 1.5).view(2, 24, 24)
    result = private(form, x, keep, scope_for(form, x, keep))
    assert float((result - ops.softmax(x, keep, form)).abs().max()) <= BOUND
    assert not result[~keep.expand(x.shape)].any()


@pytest.mark.parametrize("form", ["2quad", "2relu"])
@pytest.mark.parametrize("lost", [-1e9, 1e9])
def test_masked_scores_do_not_matter_however_large(form, lost):
    keep = MASKS["causal"]
    x = scores(24, 24, 1.0)
    scope = scope_for(form, x, keep)
    wild = torch.where(keep, x, torch.full_like(x, lost))
    assert float((private(form, wild, keep, scope) - ops.softmax(x, keep, form)).abs().max()) <= BOUND


@pytest.mark.parametrize("form", ["2quad", "2relu"])
@pytest.mark.parametrize("hidden", [0.0, 300.0])
def test_a_secret_mask_gives_what_a_public_one_does(form, hidden):
    keep = MASKS["band"]
    x = scores(24, 24, 0.7)
    scope = scope_for(form, x, keep, secret=True)
    wild = torch.where(keep, x, x + hidden)
    result = private(form, wild, share(keep.double()), scope)
    assert float((result - ops.softmax(x, keep, form)).abs().max()) <= BOUND


def test_a_row_that_a_secret_mask_empties_is_reported_by_2quad():
    keep = MASKS["band"].double()
    keep[5] = 0.0
    x = scores(24, 24, 0.7)
    with pytest.raises(RangeExceeded):
        private("2quad", x, share(keep), scope_for("2quad", x, MASKS["band"], secret=True))


def test_2relu_of_a_row_without_a_positive_score_is_zero():
    x = -scores(4, 12, 1.0).abs() - UNIT
    x[1, 3] = 2.0
    x[2, 5] = LEAST_TOTAL / 4
    result = private("2relu", x, None, mpc.SoftmaxRange(-4.0, 4.0, ((LEAST_TOTAL, 10.0),)))
    assert not result[0].any()
    assert result[1, 3] == pytest.approx(1.0, abs=BOUND)
    assert result[2, 5] == pytest.approx(0.25, abs=EXACT_BOUND)
    assert float((result - ops.softmax(x, None, "2relu")).abs().max()) <= EXACT_BOUND


@pytest.mark.parametrize("largest", [0.02, 0.5, 30.0, 2000.0])
def test_2relu_divides_by_sums_of_any_size(largest):
    x = scores(64, 12, 1.0).abs() * torch.logspace(-6, 0, 64, base=2, dtype=torch.float64)[:, None]
    x = (x * largest / float(x.sum(-1).max()) / UNIT).round() * UNIT
    result = private("2relu", x, None, mpc.SoftmaxRange(-4.0, 4.0, ((LEAST_TOTAL, largest * 1.5),)))
    exact = ops.softmax(x, None, "2relu")
    assert float((result - exact).abs().max()) <= EXACT_BOUND


@pytest.mark.parametrize("largest", [0.02, 0.5, 30.0])
def test_attending_rounds_a_mix_by_a_unit_over_the_sum(largest):
    x = scores(64, 12, 1.0).abs() * torch.logspace(-6, 0, 64, base=2, dtype=torch.float64)[:, None]
    x = (x * largest / float(x.sum(-1).max()) / UNIT).round() * UNIT
    y = (scores(12, 8, 1.0, seed=1) / UNIT).round() * UNIT
    scope = mpc.SoftmaxRange(-4.0, 4.0, ((LEAST_TOTAL, largest * 1.5),))

    def program(a, b):
        result = mpc.attend(a, b, None, "2relu", scope=scope, tolerance=TOLERANCE, bound=4.0)
        mpc.check_ranges()
        return result

    gap = (values(run_call(program, share(x), share(y)).results) - ops.attend(x, y, None, "2relu")).abs().amax(-1)
    # Scores and values are exact, and so are their products: the mix is rounded, then divided by the sum, then rounded.
    bound = UNIT / x.sum(-1).clamp(min=LEAST_TOTAL) + float(y.abs().max()) * INVERSE_BOUND + UNIT
    assert bool((gap <= bound).all())
    # The bound is not idle: small sums do bring errors of a good part of it.
    assert largest > 1 or float(gap.max()) > UNIT / LEAST_TOTAL / 4


@pytest.mark.parametrize("score", [60.0, -80.0, 1e4, -3e5])
def test_2quad_of_a_score_beyond_its_range_stops_the_run(score):
    x = scores(4, 12, 0.7)
    scope = scope_for("2quad", x)
    x[1, 3] = score
    with pytest.raises(RangeExceeded):
        private("2quad", x, None, scope)


@pytest.mark.parametrize("score", [50.0, 1e4, 1e8])
def test_2relu_of_a_row_beyond_its_range_stops_the_run(score):
    x = scores(4, 12, 0.7)
    scope = scope_for("2relu", x)
    x[1, 3] = score
    with pytest.raises(RangeExceeded):
        private("2relu", x, None, scope)


@pytest.mark.parametrize("form", ["2quad", "2relu"])
@pytest.mark.parametrize("bound", [None, 8.0])
@pytest.mark.parametrize("name", ["causal", "padding", "a row with none"])
def test_attending_is_softmax_times_values(form, bound, name):
    keep, x = MASKS[name], scores(2 * 24, 24, 1.0).view(2, 24, 24)
    y = scores(2 * 24, 8, 1.0, seed=1).view(2, 24, 8)
    scope = scope_for(form, x, keep)

    def program(a, b, mask):
        result = mpc.attend(a, b, mask, form, scope=scope, tolerance=TOLERANCE, bound=bound)
        mpc.check_ranges()
        return result

    outcome = run_call(program, share(x), share(y), keep)
    assert float((values(outcome.results) - ops.attend(x, y, keep, form)).abs().max()) <= 1e-3


def test_2quad_opens_scores_and_squares_in_48_bits():
    scope = mpc.SoftmaxRange(-4.0, 4.0, ((10.0, 60.0),))

    def program(a, b):
        return mpc.attend(a, b, None, "2quad", scope=scope, tolerance=TOLERANCE, bound=4.0)

    rows, columns, width = 16, 128, 8
    plan = plan_of(program, share(torch.zeros(rows, columns)), share(torch.zeros(columns, width), 32))
    rest = plan.traffic[0].bytes_sent[0] - 3 * 6 * rows * columns
    # What is left is the values, truncated before, and what grows with rows and results only.
    assert 0 < rest < 8 * (columns * width + 3 * rows * width + 12 * rows)
