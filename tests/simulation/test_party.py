from __future__ import annotations

import pytest
import torch

from mpccompile.errors import DealerError
from mpccompile.runtime.openings import truncate
from mpccompile.runtime.party import activate, drive
from mpccompile.runtime.plan import Plan, Step
from mpccompile.runtime.series import evaluate, fit
from mpccompile.runtime.shared import Shared
from mpccompile.simulation.party import SimulatedParty
from tests.runtime.pair import plan_of, share


def simulated(protocol, x):
    """Run a protocol of one secret, given as ring elements with 16 fractional bits."""
    party = SimulatedParty(plan_of(protocol, share(x)), {}, 16, seed=0)
    activate(party)
    try:
        return drive(protocol(Shared(x, 16))), party
    finally:
        activate(None)


def test_truncation_rounds_up_as_often_as_the_bits_say():
    def protocol(x):
        return (yield from truncate(x, 8))

    result, _party = simulated(protocol, torch.full((4000,), -3 * 256 - 64))
    values, counts = result.share.unique(return_counts=True)
    assert values.tolist() == [-4, -3]
    # A quarter below -3: three of four stay at -3; six deviations of 0.0068 either way.
    assert abs(float(counts[1]) / 4000 - 0.75) < 0.042


def test_a_series_is_right_and_its_masks_are_uniform():
    series = fit("tanh", -3.0, 3.0, 1e-4, 16)

    def protocol(x):
        value, _wire = yield from evaluate(x, series)
        return value

    x = torch.linspace(-3, 3, 500)
    result, party = simulated(protocol, (x * 2**16).long())
    value = result.share.double() * 2.0**-result.frac_bits
    assert float((value - x.double().tanh()).abs().max()) < 2e-4
    assert party._random_bits == {0: 64}


def test_an_unplanned_step_is_refused():
    party = SimulatedParty(Plan((Step("mask", (2,)),), (), 0), {}, 16, seed=0)
    with pytest.raises(DealerError, match="asked for xor_mask"):
        party.draw(Step("xor_mask", (2,)))


def test_a_mask_that_no_truncation_reads_is_zero():
    party = SimulatedParty(Plan((Step("mask", (3,)), Step("mul", (3,), (0, 0))), (), 0), {}, 16, seed=0)
    mask = party.draw(Step("mask", (3,)))
    assert not mask.share.any()
    assert not party.draw(Step("mul", (3,), (0, 0))).share.any()


def test_the_rank_is_both():
    rank = SimulatedParty(Plan((), (), 0), {}, 16, seed=0).rank
    assert rank == 0
    assert rank == 1
    assert rank != 2


def test_expected_wraps_are_the_sizes_of_what_is_truncated_locally():
    party = SimulatedParty(Plan((), (), 0), {}, 16, 0, "local")
    activate(party)
    try:
        result = drive(truncate(Shared(torch.tensor([1 << 60, -(1 << 60), 5 << 16]), 32), 16))
    finally:
        activate(None)
    assert result.share.tolist() == [1 << 44, -(1 << 44), 5]
    assert party.wraps == pytest.approx(2 * 2.0**-4)
