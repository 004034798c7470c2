"""A trace is one that Perfetto reads, and says what the profile says."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from mpccompile.errors import InputError
from mpccompile.report.profiling.trace import trace

DEALER = 2


@pytest.fixture(scope="module")
def events(measured):
    return json.loads(json.dumps(trace(measured)))["traceEvents"]


@pytest.fixture(scope="module")
def complete(events):
    return [event for event in events if event["ph"] == "X"]


def test_every_event_is_complete_or_a_title(events, complete):
    assert {event["ph"] for event in events} == {"M", "X"}
    for event in complete:
        assert isinstance(event["name"], str)
        assert isinstance(event["cat"], str)
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        assert event["ts"] >= 0
        assert event["dur"] >= 0


def test_every_process_and_track_has_a_name(events, complete):
    named = {(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"}
    assert named == {(event["pid"], event["tid"]) for event in complete}
    processes = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert processes == {0: "party 0", 1: "party 1", DEALER: "dealer"}


def test_time_runs_forward(complete):
    times = [event["ts"] for event in complete]
    assert times == sorted(times)
    assert times[0] == 0


def test_events_of_a_track_lie_in_each_other_or_apart(complete):
    open_ends = {}
    for event in complete:
        ends = open_ends.setdefault((event["pid"], event["tid"]), [])
        begin, end = round(1000 * event["ts"]), round(1000 * (event["ts"] + event["dur"]))
        while ends and ends[-1] <= begin:
            ends.pop()
        assert not ends or end <= ends[-1], event
        ends.append(end)


@pytest.mark.parametrize("rank", [0, 1])
def test_messages_add_up_to_the_profile(profiled, complete, rank):
    _package, profile = profiled
    messages = [event for event in complete if event["pid"] == rank and event["cat"] == "wire"]
    assert sum(event["args"]["bytes"] for event in messages) == profile.bytes_sent[rank]
    assert len(messages) == profile.rounds


def test_seconds_of_a_line_are_the_profiles(profiled, complete):
    package, profile = profiled
    spent = Counter()
    for event in complete:
        if event["pid"] == 0 and event["cat"] in ("compute", "exchange"):
            spent[event["args"]["line"]] += event["dur"] / 1e6
    for statement, row in zip(package.statements, profile.rows, strict=False):
        assert spent[statement.line] == pytest.approx(row.seconds, abs=1e-6)
    (call,) = [event for event in complete if event["pid"] == 0 and event["cat"] == "call"]
    assert call["dur"] / 1e6 <= profile.online_seconds + 1e-9


def test_layers_cover_their_statements(complete, measured):
    layers = [event for event in complete if event["pid"] == 1 and event["cat"] == "layer"]
    assert list(dict.fromkeys(event["name"] for event in layers)) == [part.name for part in measured.layers]


def test_without_a_timeline_there_is_no_trace(measured):
    with pytest.raises(InputError, match="no timeline was recorded"):
        trace(replace(measured, spans=()))
