"""What is written down of a call, and that nothing is where nobody asks."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

import mpccompile
from mpccompile.runtime.timeline import CALL, COMPUTE, EXCHANGE, PREPARE, WIRE, Span, Timeline
from tests import models


@pytest.fixture(scope="module")
def private():
    model, inputs = models.mlp()
    with mpccompile.compile(model, example_inputs=inputs) as compiled:
        yield compiled, inputs


@pytest.fixture(scope="module")
def profile(private):
    compiled, inputs = private
    return compiled.profile(**inputs, timeline=True)


def of(profile, role, *kinds):
    return [span for span in profile.spans if span.role == role and span.kind in kinds]


def test_nothing_is_recorded_unless_it_is_asked_for(private, profile):
    compiled, inputs = private
    assert profile.spans
    assert compiled.profile(**inputs).spans == ()


def test_seconds_of_a_statement_are_those_of_its_spans(private, profile):
    statements = private[0].packages[0].statements
    for statement, row in zip(statements, profile.rows, strict=False):
        mine = [span.seconds for span in of(profile, "0", COMPUTE, EXCHANGE) if span.line == statement.line]
        assert math.isclose(sum(mine), row.seconds, abs_tol=1e-9)


@pytest.mark.parametrize("role", ["0", "1"])
def test_messages_are_the_bytes_and_rounds_of_the_call(profile, role):
    wires = of(profile, role, WIRE)
    assert sum(span.sent for span in wires) == profile.bytes_sent[int(role)]
    assert len(wires) == profile.rounds


@pytest.mark.parametrize("role", ["0", "1"])
def test_a_party_does_one_thing_at_a_time_and_messages_lie_in_openings(profile, role):
    (call,) = of(profile, role, CALL)
    steps = sorted(of(profile, role, COMPUTE, EXCHANGE), key=lambda span: span.begin)
    assert call.begin <= steps[0].begin
    assert steps[-1].end <= call.end
    assert all(one.end <= other.begin for one, other in itertools.pairwise(steps))
    openings = of(profile, role, EXCHANGE)
    for wire in of(profile, role, WIRE):
        assert any(each.begin <= wire.begin <= wire.end <= each.end for each in openings)
    assert call.seconds <= profile.online_seconds


def test_the_dealer_and_both_parties_make_randomness_before_the_call(profile):
    made = {span.role: span for span in profile.spans if span.kind == PREPARE}
    assert set(made) == {"dealer", "0", "1"}
    assert max(span.seconds for span in made.values()) == pytest.approx(profile.offline_seconds)
    assert max(span.end for span in made.values()) <= min(of(profile, role, CALL)[0].begin for role in "01")


@pytest.mark.cuda
def test_a_gpu_is_waited_for():
    timeline = Timeline(torch.device("cuda"))
    x = torch.randn(8192, 8192, device="cuda")
    torch.cuda.synchronize()
    begin = timeline.now()
    for _ in range(10):
        x = x @ x
    assert timeline.now() - begin > 1e-2


def test_a_row_becomes_a_span_of_its_process():
    timeline = Timeline(torch.device("cpu"))
    timeline.note(WIRE, 7, 1.0, 1.5, 12)
    (row,) = timeline.rows
    span = Span.from_json("1", list(row))
    assert (span.role, span.kind, span.line, span.seconds, span.sent) == ("1", WIRE, 7, 0.5, 12)
