"""Truncation is exact within one unit in the last place, whatever the mask; openings are made once."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mpccompile.bench import truncations
from mpccompile.bench.truncations import count_wrong, extremes
from mpccompile.errors import MpcCompileError
from mpccompile.runtime import ring
from mpccompile.runtime.openings import RING_BITS, masked, truncate
from mpccompile.runtime.shared import Shared
from tests.runtime.pair import added, random_words, run_call, share, wire_values

WIDTHS = (64, 48, 40, 32)
DROPS = (0, 1, 8, 16, 20)
REPEATS = 64
"""Fresh masks each adversarial value meets in one run."""
MASS = 10_000_000
SIGMAS = 7.0
"""A normal variable is further out with probability 3e-12."""


def truncating(frac_bits: int, bits: int) -> Any:
    return lambda x: truncate(Shared(x.share, x.frac_bits, bits=bits), frac_bits)


def units_off(result: torch.Tensor, value: torch.Tensor, drop: int) -> torch.Tensor:
    """Return result - floor(value / 2^drop): 0 or 1 when truncation is right, and 0 when the quotient is whole."""
    return result - (value >> drop)


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("drop", DROPS)
def test_truncation_is_within_one_unit_at_every_extreme(bits, drop):
    value = extremes(bits).repeat(REPEATS)
    # Only the low bits of the shares are promised to be right.
    shifted = value if bits == RING_BITS else value + (random_words(value.shape) << bits)
    outcome = run_call(truncating(0, bits), share(shifted, drop))
    off = units_off(added(outcome.results), value, drop)
    assert set(off.unique().tolist()) <= {0, 1}
    whole = (value & ((1 << drop) - 1)) == 0
    assert not off[whole].any()


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("drop", [8, 16])
def test_truncation_leaves_a_wire_of_its_result(bits, drop):
    value = extremes(bits).repeat(8)
    outcome = run_call(truncating(0, bits), share(value, drop))
    (wire,) = outcome.results[0].wires
    assert wire.bits == bits - drop
    assert torch.equal(wire_values(outcome.results), ring.reduce(added(outcome.results), wire.bits))


def test_ten_million_truncations_never_wrap():
    assert count_wrong(MASS, seed=1) == 0


def test_the_count_sees_values_beyond_what_truncation_promises(monkeypatch):
    assert count_wrong(1, seed=2, bits=48) == 0
    monkeypatch.setattr(truncations, "extremes", lambda bits: torch.tensor([(1 << (bits - 1)) - 1]))
    assert count_wrong(1, seed=2, bits=48) > 0


def test_a_value_beyond_the_range_comes_out_wrong():
    # Past the promised range the top bit of the shifted value is taken, and the recovered carry is wrong.
    value = torch.full((4096,), (1 << 63) - 1)
    outcome = run_call(truncating(0, RING_BITS), share(value, 16))
    off = units_off(added(outcome.results), value, 16)
    assert int(((off < 0) | (off > 1)).sum()) > 0


@pytest.mark.parametrize("fraction", [0.0, 1 / 65536, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("whole", [0, -3, (1 << 44) - 5, -(1 << 44)])
def test_truncation_rounds_up_as_often_as_the_fraction_says(fraction, whole):
    count, drop = 20_000, 16
    value = torch.full((count,), (whole << drop) + round(fraction * (1 << drop)))
    outcome = run_call(truncating(0, RING_BITS), share(value, drop))
    ups = int(units_off(added(outcome.results), value, drop).sum())
    deviation = (count * fraction * (1 - fraction)) ** 0.5
    assert abs(ups - count * fraction) <= SIGMAS * deviation + 1


def test_truncating_to_more_fractional_bits_is_exact():
    value = torch.tensor([0, 1, -1, 12345, -(1 << 40)])
    outcome = run_call(truncating(16, RING_BITS), share(value, 12))
    assert outcome.results[0].frac_bits == 16
    assert torch.equal(added(outcome.results), value << 4)
    assert outcome.channels[0].bytes_sent == 0


def test_a_value_is_truncated_once():
    def program(x):
        first = yield from truncate(x, 16)
        second = yield from truncate(x, 16)
        assert second is first
        return first

    outcome = run_call(program, share(torch.arange(5) << 20, 32))
    assert outcome.channels[0].bytes_sent == 5 * 8
    assert sum(row.rounds for row in outcome.plan.traffic) == 1


def test_a_value_at_its_fractional_bits_is_left_alone():
    outcome = run_call(truncating(16, RING_BITS), share(torch.arange(5), 16))
    assert outcome.channels[0].bytes_sent == 0
    assert torch.equal(added(outcome.results), torch.arange(5))


@pytest.mark.parametrize("bits", [1, 7, 20, 48, 64])
def test_an_opening_carries_the_value_modulo_its_width(bits):
    def program(x):
        yield from masked(x, bits)
        return x

    value = torch.cat([extremes(64), random_words((50,))])
    outcome = run_call(program, share(value, 16))
    assert torch.equal(wire_values(outcome.results), ring.reduce(value, bits))
    assert outcome.channels[0].bytes_sent == -(-value.numel() * bits // 8)


def test_a_wider_wire_serves_a_narrower_one_but_not_the_other_way_round():
    def program(x):
        narrow = yield from masked(x, 20)
        wide = yield from masked(x, 64)
        again = yield from masked(x, 20)
        middle = yield from masked(x, 48)
        assert again is narrow
        assert middle is wide
        assert wide.mask.key != narrow.mask.key
        return x

    outcome = run_call(program, share(torch.arange(8), 16))
    assert outcome.channels[0].bytes_sent == 20 + 64
    assert len(outcome.parties[0].openings) == 2
    for index in (0, 1):
        width = outcome.results[0].wires[index].bits
        assert torch.equal(wire_values(outcome.results, index), ring.reduce(torch.arange(8), width))


def test_shares_of_a_narrow_ring_are_not_opened_in_a_wider_one():
    def program(x, bits):
        yield from masked(Shared(x.share, x.frac_bits, bits=48), bits)
        return x

    # Above their ring, the sum of shares tells what wrapped around in it.
    with pytest.raises(MpcCompileError, match="modulo"):
        run_call(program, share(torch.arange(4)), 49)
    run_call(program, share(torch.arange(4)), 48)


def test_more_fractional_bits_widen_a_narrow_ring_by_as_many():
    def program(x):
        result = yield from truncate(Shared(x.share, x.frac_bits, bits=48), 20)
        assert result.bits == 52
        return (yield from truncate(result, 16))

    value = torch.tensor([5, -5, 1 << 40, -(1 << 40)])
    outcome = run_call(program, share(value + (random_words((4,)) << 48), 16))
    assert torch.equal(added(outcome.results), value)


# --------------------------------------------------------------------------------------------------- local truncation


def test_a_local_truncation_sends_nothing_and_is_within_one_unit():
    value = torch.randint(-(1 << 40), 1 << 40, (100_000,))
    outcome = run_call(truncating(0, RING_BITS), share(value, 16), truncation="local")
    assert outcome.plan.traffic == ()
    assert outcome.plan.steps == ()
    assert set(units_off(added(outcome.results), value, 16).tolist()) <= {-1, 0, 1}


def test_a_local_truncation_wraps_as_often_as_is_stated():
    value = torch.full((200_000,), 1 << 58)
    outcome = run_call(truncating(0, RING_BITS), share(value, 16), truncation="local")
    off = units_off(added(outcome.results), value, 16)
    wrapped = off.abs() > 1
    assert set(off[wrapped].abs().tolist()) <= {(1 << 48) + step for step in (-1, 0, 1)}
    # |z| / 2^64 = 2^-6 of them.
    expected = len(value) / 64
    assert abs(int(wrapped.sum()) - expected) < SIGMAS * expected**0.5


def test_fine_fixed_point_is_truncated_exactly_by_parties_that_truncate_locally():
    value = extremes(RING_BITS)
    outcome = run_call(truncating(16, RING_BITS), share(value, 46), truncation="local")
    assert set(units_off(added(outcome.results), value, 30).tolist()) <= {0, 1}
    assert sum(row.rounds for row in outcome.plan.traffic) == 1


def test_a_narrow_ring_is_truncated_exactly_by_parties_that_truncate_locally():
    value = extremes(48)
    outcome = run_call(truncating(0, 48), share(value, 16), truncation="local")
    assert set(units_off(added(outcome.results), value, 16).tolist()) <= {0, 1}
    assert sum(row.rounds for row in outcome.plan.traffic) == 1
