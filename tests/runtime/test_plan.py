"""A plan made from shapes alone says what a call sends, to the byte, and what its dealer sends."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch

from mpccompile.runtime import correlations
from mpccompile.runtime import functions as mpc
from mpccompile.runtime.plan import Plan, Step, Traffic, Work
from mpccompile.runtime.work import work_of
from tests.runtime.function_cases import CASES, Case, private
from tests.runtime.pair import Prepared, deal, fresh_seeds, plan_of, run_call, share, weights_among

WORD_BYTES = 8


def one_of_each() -> list[Case]:
    """Return a case of every kind that costs anything of its own: of the curves, the first."""
    found: dict[str, Case] = {}
    for case in CASES:
        found.setdefault(case.op if case.op in {"silu", "tanh", "sigmoid", "exp"} else str(case), case)
    return list(found.values())


@pytest.mark.parametrize("case", one_of_each(), ids=str)
def test_a_call_sends_what_its_plan_says(case):
    arguments = [private(arg) for arg in case.args]
    outcome = run_call(case.program(), *arguments)
    planned = outcome.plan.traffic
    for rank, (channel, party) in enumerate(zip(outcome.channels, outcome.parties, strict=True)):
        assert channel.bytes_sent == sum(row.bytes_sent[rank] for row in planned)
        assert len(channel.sent) == sum(row.rounds for row in planned)
        assert party.ledger.traffic() == planned
    assert sum(correction.numel() for correction in outcome.corrections) == outcome.plan.offline_bytes
    assert all(correction.dtype == torch.uint8 for correction in outcome.corrections)


@pytest.mark.parametrize("case", one_of_each(), ids=str)
def test_steps_survive_json_and_planning_again_gives_the_same(case):
    arguments = [private(arg) for arg in case.args]
    plan = plan_of(case.program(), *arguments)
    text = json.dumps([step.to_json() for step in plan.steps])
    assert tuple(Step.from_json(row) for row in json.loads(text)) == plan.steps
    assert plan_of(case.program(), *arguments) == plan


def program(x: Any, w: Any) -> Any:
    first = mpc.linear(x, w)
    second = mpc.gelu(first, scope=(-20.0, 20.0), tolerance=1e-3)
    mpc.check_ranges()
    return second


def arguments() -> tuple[Any, Any]:
    case = next(case for case in CASES if str(case) == "linear")
    x, w = case.args
    return private(x), private(w)


def test_a_plan_read_from_json_runs_the_call():
    x, w = arguments()
    plan = plan_of(program, x, w)
    steps = tuple(Step.from_json(row) for row in json.loads(json.dumps([step.to_json() for step in plan.steps])))
    read = Plan(steps, plan.traffic, plan.offline_bytes)
    run_call(program, x, w, plan=read)


def test_traffic_is_booked_on_the_line_of_its_statement():
    plan = plan_of(program, *arguments())
    first = program.__code__.co_firstlineno
    # The third statement opens the verdict on the second one's range; nothing else sends.
    assert [row.line - first for row in plan.traffic] == [1, 2, 3]
    (x, _), _ = arguments()
    elements = x.share.numel()
    results = elements // x.shape[-1] * 6
    assert plan.traffic[0] == Traffic(first + 1, ((elements + results) * WORD_BYTES,) * 2, 2)


def test_work_is_booked_on_the_line_of_its_statement():
    plan = plan_of(program, *arguments())
    (x, _), _ = arguments()
    assert sum(row.steps for row in plan.work) == len(plan.steps)
    assert sum(row.words for row in plan.work) == sum(math.prod(step.shape) for step in plan.steps)
    linear = next(row for row in plan.work if row.line == plan.traffic[0].line)
    assert linear.products == x.share.numel() * 6
    assert [row.products for row in plan.work if row != linear] == [0] * (len(plan.work) - 1)


def test_a_view_is_no_work_beyond_its_step():
    steps = (Step("mask", (2, 3)), Step("view", (3, 2), (0,), ("transpose", (0, 1))), Step("matmul", (3, 3), (1, 0)))
    assert work_of(steps, (7, 7, 9)) == (Work(7, 2, 6, 0), Work(9, 1, 9, 18))


def test_a_loop_books_all_of_its_turns_on_one_line():
    def looped(x):
        for _ in range(3):
            x = mpc.mul(x, x)
        return x

    plan = plan_of(looped, share(torch.ones(4)))
    assert len(plan.traffic) == 1
    once = plan_of(lambda x: mpc.mul(x, x), share(torch.ones(4))).traffic[0]
    assert plan.traffic[0].rounds == 3 * once.rounds


def test_a_plan_depends_on_shapes_alone():
    x, w = arguments()
    other = share(torch.full(x[0].shape, 7.0))
    assert plan_of(program, x, w) == plan_of(program, other, w)


def test_a_dealer_sends_the_same_number_of_bytes_at_each_call():
    x, w = arguments()
    plan = plan_of(program, x, w)
    for call in range(3):
        corrections = deal(plan, fresh_seeds(), weights_among([w]), call)
        assert [c.numel() for c in corrections] == [
            correlations.correction_bytes(step) for step in plan.steps if correlations.is_dealt(step)
        ]


def test_the_last_use_of_a_step_is_where_it_is_read_last():
    steps = (
        Step("mask", (2,)),
        Step("mask", (2,)),
        Step("mul", (2,), (0, 1)),
        Step("view", (2,), (0,), ("reshape", (2,))),
    )
    assert Plan(steps, (), 0).last_use == (3, 2, 2, 3)


@pytest.mark.parametrize("kind", ["mul", "top_bit", "shift", "bit_of", "and"])
def test_a_correction_takes_whole_bytes(kind):
    params = {"top_bit": (64, 13), "shift": (64, 16), "bit_of": (64,), "and": (64,)}.get(kind, ())
    step = Step(kind, (5, 3), (0, 1), params)
    assert correlations.correction_bytes(step) == -(-15 * correlations.width_bits(step) // 8)


def test_fresh_and_local_steps_cost_nothing():
    for step in (
        Step("mask", (1000,)),
        Step("client_mask", (1000,)),
        Step("view", (1000,), (0,), ("reshape", (1000,))),
    ):
        assert correlations.correction_bytes(step) == 0


def test_a_prepared_program_runs_again_and_again():
    x, w = arguments()
    prepared = Prepared(program, x, w)
    seeds = fresh_seeds()
    shapes = {prepared.run(x, w, seeds=seeds, call=call).results[0].shape for call in range(3)}
    assert len(shapes) == 1
