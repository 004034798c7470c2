"""A call taken apart adds up to what it was."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mpccompile.ir.network import LAN, WAN
from mpccompile.report.profiling.breakdown import breakdown
from tests import models


def test_layers_and_operations_add_up_to_the_call(profiled, measured):
    _package, profile = profiled
    for parts in (measured.layers, measured.operations, [measured.total]):
        assert sum(part.calls for part in parts) == len(profile.rows)
        assert sum(part.rounds for part in parts) == profile.rounds
        assert tuple(sum(part.bytes_sent[rank] for part in parts) for rank in (0, 1)) == profile.bytes_sent
        assert sum(part.seconds for part in parts) == pytest.approx(profile.online_seconds)


def test_layers_stand_in_the_order_of_the_program_and_operations_by_time(measured):
    layers = [f"bert.encoder.layer.{layer}" for layer in range(models.LAYERS)]
    assert [part.name for part in measured.layers] == [
        "bert.embeddings",
        *layers,
        "bert.pooler",
        "classifier",
        "(outputs)",
    ]
    seconds = [part.seconds for part in measured.operations]
    assert seconds == sorted(seconds, reverse=True)
    assert {"linear", "attend", "layer_norm", "gelu"} <= {part.name for part in measured.operations}


def test_messages_take_some_of_the_time_of_what_sends(measured):
    assert all(part.wire > 0 for part in measured.layers if part.rounds)
    assert all(part.computing >= 0 for part in measured.layers)


def test_a_prediction_is_compared_statement_by_statement(profiled, measured):
    package, profile = profiled
    assert measured.agrees
    assert all(each.part.predicted_bytes == each.part.bytes_sent for each in measured.statements)
    first = next(row for row in package.traffic if row.rounds)
    other = replace(package, traffic=tuple(replace(row, rounds=9) if row == first else row for row in package.traffic))
    wrong = [
        each.line for each in breakdown(other, profile).statements if each.part.predicted_rounds != each.part.rounds
    ]
    assert wrong == [first.line]


def test_a_network_adds_its_rounds_and_bytes(measured):
    total = measured.total
    assert total.over(LAN) == pytest.approx(total.rounds * 0.25e-3 + max(total.bytes_sent) / 125e6)
    assert total.over(WAN) == pytest.approx(total.rounds * 20e-3 + max(total.bytes_sent) / 12.5e6)


def test_without_a_timeline_all_of_it_is_computing(profiled):
    package, profile = profiled
    plain = breakdown(package, replace(profile, spans=()))
    assert plain.total.wire == 0
    assert plain.total.computing == pytest.approx(profile.online_seconds)
