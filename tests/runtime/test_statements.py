"""Statements side by side share their messages, are booked each on its own line, and open no value twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from mpccompile.errors import RangeExceeded
from mpccompile.runtime import functions as mpc
from mpccompile.runtime import ring
from mpccompile.runtime.openings import masked, truncate
from mpccompile.runtime.party import LiveParty, current, together
from mpccompile.runtime.products import product
from mpccompile.runtime.shared import StaticWeight
from mpccompile.runtime.statements import private_function, side_by_side
from tests.runtime.pair import Call, opened, run_call, share, values

WORD_BYTES = 8


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weight(name: str, *shape: int) -> StaticWeight:
    return StaticWeight(name, ring.encode(numbers(*shape, seed=len(name)), 16), 16)


def apart(x: Any, y: Any, w: Any) -> Any:
    first = mpc.relu(x)
    second = mpc.linear(y, w)
    third = mpc.square(x)
    return [first, second, third]


def beside(x: Any, y: Any, w: Any) -> Any:
    return list(
        mpc.together(
            mpc.relu.steps(x),
            mpc.linear.steps(y, w),
            mpc.square.steps(x),
        )
    )


def line_of(program: Any, statement: int) -> int:
    return program.__code__.co_firstlineno + 3 + statement


def rounds(call: Call) -> int:
    return len(call.channels[0].sent)


@pytest.fixture(scope="module")
def both() -> tuple[Call, Call]:
    arguments = (share(numbers(4, 6)), share(numbers(4, 6, seed=1)), weight("w", 6, 6))
    return run_call(apart, *arguments), run_call(beside, *arguments)


def test_answers_are_those_of_statements_one_by_one(both):
    for index in range(3):
        one, other = (opened([result[index] for result in call.results]) for call in both)
        assert torch.allclose(one, other, atol=2 * 2.0**-16)


def test_no_more_is_sent_in_fewer_rounds(both):
    one, other = both
    assert other.channels[0].bytes_sent == one.channels[0].bytes_sent
    # relu waits the longest: its opening, six levels and a bit, which the others go along with.
    assert rounds(one) == rounds(other) + 2 + 1
    assert rounds(other) == next(row.rounds for row in one.plan.traffic)


def test_traffic_is_booked_by_line_and_a_shared_round_once(both):
    one, other = both
    booked = {row.line: row for row in other.plan.traffic}
    assert sorted(booked) == [line_of(beside, statement) for statement in range(3)]
    assert [booked[line].rounds for line in sorted(booked)] == [rounds(other), 0, 0]
    assert [booked[line].bytes_sent for line in sorted(booked)] == [row.bytes_sent for row in one.plan.traffic]


def test_every_line_has_seconds(both):
    for party in both[1].parties:
        assert sorted(party.seconds) == [line_of(beside, statement) for statement in range(3)]
        assert all(spent > 0 for spent in party.seconds.values())


def test_a_round_is_booked_on_the_first_that_waits_in_it():
    def program(x, y):
        return list(
            mpc.together(
                mpc.square.steps(x),
                mpc.relu.steps(y),
            )
        )

    call = run_call(program, share(numbers(3)), share(numbers(3, seed=1)))
    booked = {row.line: row.rounds for row in call.plan.traffic}
    assert booked == {line_of(program, 0): 2, line_of(program, 1): rounds(call) - 2}


# ------------------------------------------------------------------------------------------------ what several need


def test_a_value_that_two_need_at_once_is_opened_once():
    call = run_call(beside, share(numbers(4, 6)), share(numbers(4, 6, seed=1)), weight("w", 6, 6))
    masks = Counter(step.kind for step, _ in call.parties[0].drawn)
    alone = Counter(step.kind for step, _ in run_call(mpc.relu, share(numbers(4, 6))).parties[0].drawn)
    # Beyond relu's own: y and the truncations of the linear and the square, but x not again.
    assert masks["mask"] == alone["mask"] + 1 + 2


def test_a_truncation_that_two_need_at_once_is_made_once():
    def program(x, y):
        raw = mpc.mul(x, 0.3)
        return list(mpc.together(mpc.square.steps(raw), mpc.mul.steps(raw, y)))

    x, y = numbers(5), numbers(5, seed=1)
    call = run_call(program, share(x), share(y))
    for index, exact in enumerate([(0.3 * x) ** 2, 0.3 * x * y]):
        assert torch.allclose(values([result[index] for result in call.results]), exact, atol=1e-3)
    # Truncate, open the two factors, truncate the two products: none twice.
    assert (rounds(call), call.channels[0].bytes_sent) == (3, 5 * WORD_BYTES * 5)


@pytest.mark.parametrize("waits", [0, 1, 2])
@pytest.mark.parametrize("later_first", [False, True])
def test_what_another_opened_is_found_at_any_step(waits, later_first):
    """One opens x at once, the other after some rounds of its own: whichever stands first, x is opened once."""

    def program(x, y):
        def late():
            for _ in range(waits):
                yield from masked(mpc.neg(mpc.neg(y)))
            return (yield from masked(x))

        pair = (late(), masked(x)) if later_first else (masked(x), late())
        return (yield from together(*pair))

    call = run_call(program, share(numbers(3)), share(numbers(3, seed=1)))
    one, other = call.results[0]
    assert one is other
    assert rounds(call) == max(1, waits)
    assert call.channels[0].bytes_sent == 3 * WORD_BYTES * (1 + waits)


@pytest.mark.parametrize("later_first", [False, True])
def test_a_truncation_on_its_way_is_waited_for(later_first):
    def program(x, y):
        def late():
            yield from masked(y)
            return (yield from truncate(x, 8))

        pair = (late(), truncate(x, 8)) if later_first else (truncate(x, 8), late())
        return (yield from together(*pair))

    call = run_call(program, share(numbers(3)), share(numbers(3, seed=1)))
    one, other = call.results[0]
    assert one is other
    assert (rounds(call), call.channels[0].bytes_sent) == (1, 2 * 3 * WORD_BYTES)


def test_a_product_takes_the_width_of_an_opening_on_its_way():
    """The narrow opening serves the product as it would if it had been there before; its partner follows it."""

    def program(x, y):
        return (yield from together(masked(x, 48), product(x, y, "mul", 16.0)))

    call = run_call(program, share(numbers(4)), share(numbers(4, seed=1)))
    assert call.channels[0].bytes_sent == 2 * 6 * 4


def test_a_wider_opening_than_the_one_on_its_way_is_made():
    def program(x):
        return (yield from together(masked(x, 40), masked(x, 64)))

    call = run_call(program, share(numbers(4)))
    assert [wire.bits for wire in call.results[0]] == [40, 64]
    assert call.channels[0].bytes_sent == (5 + 8) * 4


def test_no_mask_serves_twice(both):
    for party in both[1].parties:
        keys = [mask.key for step, mask in party.drawn if step.kind == "mask"]
        assert len(keys) == len(set(keys))
        sent = [opening.mask.data_ptr() for opening in party.openings if opening.mask is not None]
        assert len(sent) == len(set(sent))


# ------------------------------------------------------------------------------------------------------------- checks


def curves(x: Any, y: Any) -> Any:
    return list(
        mpc.together(
            mpc.gelu.steps(x, scope=(-8.0, 8.0), tolerance=1e-4),
            mpc.tanh.steps(y, scope=(-2.0, 2.0), tolerance=1e-4),
            mpc.reciprocal.steps(y, scope=(0.5, 2.0)),
        )
    )


@pytest.mark.parametrize(
    ("x", "y", "wrong"),
    [(0.0, 1.0, []), (20.0, 1.0, [0]), (0.0, 3.7, [1, 2]), (20.0, 0.1, [0, 2]), (-30.0, -7.0, [0, 1, 2])],
)
def test_a_range_left_inside_a_group_names_the_line(x, y, wrong):
    def program(*arguments):
        results = curves(*arguments)
        mpc.check_ranges()
        return results

    arguments = [share(torch.full((3,), value, dtype=torch.float64)) for value in (x, y)]
    if not wrong:
        run_call(program, *arguments)
        return
    with pytest.raises(RangeExceeded) as caught:
        run_call(program, *arguments)
    assert caught.value.where == ", ".join(f"model.py:{line_of(curves, statement)}" for statement in wrong)


def test_an_error_inside_a_group_comes_out():
    @private_function
    def failing(x):
        yield from masked(x)
        raise ValueError("told")

    def program(x, y):
        return side_by_side(mpc.square.steps(x), failing.steps(y))

    with pytest.raises(ValueError, match="told"):
        run_call(program, share(numbers(3)), share(numbers(3)))


def test_steps_do_nothing_until_they_run_together():
    def program(x):
        steps = mpc.square.steps(x)
        assert current().ledger.entries == {}
        (result,) = side_by_side(steps)
        return result

    call = run_call(program, share(numbers(3)))
    assert isinstance(call.parties[0], LiveParty)
    assert torch.allclose(values(call.results), numbers(3) ** 2, atol=1e-3)


def test_a_private_function_keeps_its_name_and_words():
    assert mpc.linear.__name__ == "linear"
    assert "only x is opened" in str(mpc.linear.__doc__)
