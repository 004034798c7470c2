"""Softmax with a calibrated shift, halved scores and masks is right to the bits a probability holds."""

from __future__ import annotations

import math

import pytest
import torch

from mpccompile.errors import RangeExceeded
from mpccompile.ir import ops
from mpccompile.runtime import functions as mpc
from mpccompile.runtime.row_weights import EXPONENT_SPAN, centre_weights
from tests.runtime.pair import added, run_call, share, values

UNIT = 2.0**-16
TOLERANCE = 2e-5
MARGIN = 1.5
PROBABILITY_BOUND = 8 * UNIT
"""The series and the inverse are within 2e-5 each, relatively; the result is truncated to units of 1.5e-5."""
LEVEL_BOUND = 2.0**-26
"""What one level of halved scores rounds a probability to; it grows with the length of a row, squaring doubles it."""


def bound_for(columns: int, halvings: int) -> float:
    """Return the largest error of a probability: squares are rounded to units of 2^-26, and divided by 1/columns."""
    return PROBABILITY_BOUND + sum(LEVEL_BOUND * columns * 2.0**level for level in range(halvings)) * math.sqrt(columns)


def scope_for(x: torch.Tensor, keep: torch.Tensor | None = None) -> mpc.SoftmaxRange:
    """Return ranges that hold the scores with some margin: by a constant shift if they are narrow, else centred."""
    kept = torch.ones(x.shape, dtype=torch.bool) if keep is None else keep.expand(x.shape)
    constant = float(x[kept].max() + x[kept].min()) / 2
    centred = float(x[kept].max() - x[kept].min()) * MARGIN > EXPONENT_SPAN
    weights = centre_weights(keep, x.shape[-1]) / 256
    shifted = x - (x * weights).sum(-1, keepdim=True) if centred else x - constant
    reach = max(0.5, float(shifted[kept].abs().max())) * MARGIN
    halvings = max(0, math.ceil(math.log2(2 * reach / EXPONENT_SPAN)))
    exponentials = torch.where(kept, torch.exp(shifted * 2.0**-halvings), 0.0)
    rows = kept.any(-1)
    totals = [(exponentials.sum(-1) / kept.sum(-1).clamp(min=1))[rows]]
    for _ in range(halvings):
        probabilities = exponentials / exponentials.sum(-1, keepdim=True).clamp(min=1e-30)
        exponentials = probabilities.square()
        totals.append(exponentials.sum(-1)[rows])
    ranges = tuple((float(total.min()) / MARGIN, float(total.max()) * MARGIN) for total in totals)
    return mpc.SoftmaxRange(-reach, reach, ranges, centred, 0.0 if centred else constant, halvings)


def private(x: torch.Tensor, keep: torch.Tensor | None, scope: mpc.SoftmaxRange) -> torch.Tensor:
    def program(a, mask=None):
        result = mpc.softmax(a, mask, scope=scope, tolerance=TOLERANCE)
        mpc.check_ranges()
        return result

    arguments = (share(x),) if keep is None else (share(x), keep)
    return values(run_call(program, *arguments).results)


def scores(rows: int, columns: int, scale: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, columns, dtype=torch.float64, generator=generator) * scale
    return (x / UNIT).round() * UNIT


@pytest.mark.parametrize("columns", [1, 2, 16, 128])
@pytest.mark.parametrize("scale", [0.0, 0.3, 1.0, 2.0, 4.0])
def test_softmax_of_any_spread(columns, scale):
    x = scores(6, columns, scale)
    scope = scope_for(x)
    result = private(x, None, scope)
    assert float((result - ops.softmax(x)).abs().max()) <= bound_for(columns, scope.halvings)


@pytest.mark.parametrize("scale", [0.5, 1.5, 3.0])
def test_long_rows(scale):
    x = scores(3, 512, scale)
    scope = scope_for(x)
    result = private(x, None, scope)
    assert float((result - ops.softmax(x)).abs().max()) <= bound_for(512, scope.halvings)
    # Each of 512 probabilities is rounded up or down by chance, so that their sum is not off by 512 units.
    assert float((result.sum(-1) - 1).abs().max()) <= 512**0.5 * 6 * UNIT


@pytest.mark.parametrize("halvings", range(5))
def test_every_number_of_halvings_gives_the_same_softmax(halvings):
    x = scores(5, 24, 0.7)
    exponentials = torch.exp((x - x.mean(-1, keepdim=True)) * 2.0**-halvings)
    totals = [(float(exponentials.mean(-1).min()) / 2, float(exponentials.mean(-1).max()) * 2)]
    for _ in range(halvings):
        probabilities = exponentials / exponentials.sum(-1, keepdim=True)
        exponentials = probabilities.square()
        sums = exponentials.sum(-1)
        totals.append((float(sums.min()) / 2, float(sums.max()) * 2))
    scope = mpc.SoftmaxRange(-4.0, 4.0, tuple(totals), centred=True, halvings=halvings)
    assert float((private(x, None, scope) - ops.softmax(x)).abs().max()) <= bound_for(24, halvings)


@pytest.mark.parametrize("shift", [0.0, -3.25, 100.0, -5000.0])
def test_a_constant_shift_moves_the_scores_into_range(shift):
    x = scores(4, 20, 0.8) + shift
    scope = mpc.SoftmaxRange(-4.0, 4.0, ((0.3, 5.0),), shift=shift)
    assert float((private(x, None, scope) - ops.softmax(x)).abs().max()) <= PROBABILITY_BOUND


@pytest.mark.parametrize("offset", [0.0, 7.0, -300.0, 1e5, 2.0**24, -(2.0**27)])
def test_centred_rows_may_lie_anywhere(offset):
    x = scores(4, 20, 0.8)
    x[1] += offset
    scope = mpc.SoftmaxRange(-4.0, 4.0, ((0.3, 5.0),), centred=True)
    assert float((private(x, None, scope) - ops.softmax(x)).abs().max()) <= PROBABILITY_BOUND


@pytest.mark.parametrize("height", [6.0, 12.0, 20.0])
def test_peaked_rows(height):
    x = scores(6, 64, 1.0)
    x[:3, 9] += height
    x[3:, 0] -= height
    scope = scope_for(x)
    assert float((private(x, None, scope) - ops.softmax(x)).abs().max()) <= bound_for(64, scope.halvings)


MASKS = {
    "causal": torch.ones(24, 24, dtype=torch.bool).tril(),
    "band": torch.ones(24, 24, dtype=torch.bool).tril(3).triu(-3),
    "padding": torch.arange(24) < 17,
    "a row with none": torch.arange(24)[:, None] != 5 * torch.ones(24, dtype=torch.long),
    "none at all": torch.zeros(24, 24, dtype=torch.bool),
    "one each": torch.eye(24, dtype=torch.bool),
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("scale", [0.5, 1.5])
def test_masked_entries_are_zero_and_the_others_add_up(name, scale):
    keep = MASKS[name]
    x = scores(2 * 24, 24, scale).view(2, 24, 24)
    scope = scope_for(x, keep if name != "none at all" else None)
    result = private(x, keep, scope)
    exact = ops.softmax(x, keep)
    assert float((result - exact).abs().max()) <= bound_for(24, scope.halvings)
    assert not result[~keep.expand(x.shape)].any()


def test_masked_scores_do_not_matter_however_large():
    keep = MASKS["causal"]
    x = scores(24, 24, 1.0)
    scope = scope_for(x, keep)
    wild = torch.where(keep, x, torch.full_like(x, -1e9))
    assert float((private(wild, keep, scope) - ops.softmax(x, keep)).abs().max()) <= bound_for(24, scope.halvings)


def test_a_secret_mask_gives_what_a_public_one_does():
    keep = MASKS["band"]
    x = scores(24, 24, 0.7)
    scope = mpc.SoftmaxRange(-4.0, 4.0, ((0.02, 2.0),))

    def program(a, mask):
        result = mpc.softmax(a, mask, scope=scope, tolerance=TOLERANCE)
        mpc.check_ranges()
        return result

    outcome = run_call(program, share(x), share(keep.double()))
    assert float((values(outcome.results) - ops.softmax(x, keep)).abs().max()) <= 3 * PROBABILITY_BOUND


def test_a_row_that_a_secret_mask_empties_is_reported():
    keep = MASKS["a row with none"].double()
    keep[5] = 0.0
    scope = mpc.SoftmaxRange(-4.0, 4.0, ((0.02, 2.0),))

    def program(a, mask):
        result = mpc.softmax(a, mask, scope=scope, tolerance=TOLERANCE)
        mpc.check_ranges()
        return result

    with pytest.raises(RangeExceeded):
        run_call(program, share(scores(24, 24, 0.7)), share(keep))


@pytest.mark.parametrize("name", ["causal", "padding", "a row with none"])
@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_attending_is_softmax_times_values(name, scale):
    keep, x = MASKS[name], scores(2 * 24, 24, scale).view(2, 24, 24)
    y = scores(2 * 24, 8, 1.0, seed=1).view(2, 24, 8)
    scope = scope_for(x, keep)

    def program(a, b, mask):
        result = mpc.attend(a, b, mask, scope=scope, tolerance=TOLERANCE)
        mpc.check_ranges()
        return result

    outcome = run_call(program, share(x), share(y), keep)
    bound = bound_for(24, scope.halvings) * float(y.abs().sum(-2).max())
    assert float((values(outcome.results) - ops.attend(x, y, keep)).abs().max()) <= bound


@pytest.mark.parametrize("keep", [None, *MASKS.values()], ids=["all", *MASKS])
def test_the_weights_of_the_centre_are_even_and_add_up(keep):
    weights = centre_weights(keep, 24)
    kept = torch.ones(24, dtype=torch.bool) if keep is None else keep
    assert torch.equal(weights.sum(-1), torch.where(kept.any(-1), 256, 0))
    assert not weights[~kept].any()
    spread = torch.where(kept, weights, 256).min(-1).values, weights.max(-1).values
    assert bool((spread[1] - spread[0] <= 1)[kept.any(-1)].all())


def test_rows_longer_than_the_centre_has_units_use_every_other_entry():
    weights = centre_weights(None, 512)
    assert int(weights.sum()) == 256
    assert set(weights.tolist()) == {0, 1}


def test_a_probability_of_one_is_exact_to_a_unit():
    x = scores(3, 8, 0.1)
    x[:, 2] = 30.0
    scope = scope_for(x)
    outcome = run_call(lambda a: mpc.softmax(a, scope=scope, tolerance=TOLERANCE), share(x))
    assert int((added(outcome.results)[:, 2] - (1 << 16)).abs().max()) <= 8
