"""What a run that goes on may change."""

from __future__ import annotations

from dataclasses import asdict, fields, replace

import pytest

from mpccompile.distill.config import DistillationConfig, Stage
from mpccompile.distill.resume import _OF_ALL, _OF_STAGE, _OF_VALIDATION, STAGES, differences

CONFIG = DistillationConfig()


def told(stage, step, *, validated=True, before=CONFIG, **changes):
    now = replace(before, **changes)
    return list(differences(asdict(before), asdict(now), stage=stage, step=step, validated=validated))


@pytest.mark.parametrize(
    ("change", "in_layers", "in_logits"),
    [
        ({"seed": 1}, ["seed was 42 and is 1"], ["seed was 42 and is 1"]),
        ({"layers": Stage(9, 5e-5)}, ["layers.epochs was 10 and is 9"], ["layers.epochs was 10 and is 9"]),
        ({"layers": None}, ["layers was a stage and is left out"], ["layers was a stage and is left out"]),
        (
            {"logits": Stage(5, 1e-5)},
            [],
            ["logits.schedule was linear and is constant", "logits.warmup was 0.1 and is 0.0"],
        ),
        ({"logits": None}, [], ["logits was a stage and is left out"]),
        ({"labels": Stage(1, 1e-3)}, [], []),
        ({"temperature": 2.0}, [], ["temperature was 1.0 and is 2.0"]),
        ({"count_padding": True}, *[["count_padding was False and is True"]] * 2),
        ({"checkpoint_steps": 7}, [], []),
        ({"evaluate_steps": 7}, *[["evaluate_steps was None and is 7"]] * 2),
    ],
)
def test_what_had_an_effect_is_named_with_both_values(change, in_layers, in_logits):
    assert told(0, 3, **change) == in_layers
    assert told(1, 3, **change) == in_logits


def test_between_two_stages_the_next_may_change():
    assert told(1, 0, logits=None) == []
    assert told(2, 0, logits=None) == ["logits was a stage and is left out"]


def test_a_stage_before_one_that_has_begun_may_not_come():
    before = replace(CONFIG, layers=None)
    assert told(0, 1, before=before, layers=Stage(1, 1e-3)) == ["layers was left out and is a stage"]
    assert told(0, 0, before=before, layers=Stage(1, 1e-3)) == []


def test_without_validation_data_it_does_not_matter_when_it_is_looked_at():
    assert told(0, 3, validated=False, evaluate_steps=7, select="last") == []


def test_every_setting_is_looked_at_or_free():
    looked_at = {*_OF_ALL, *_OF_VALIDATION, *STAGES, *(name for names in _OF_STAGE.values() for name in names)}
    assert {field.name for field in fields(DistillationConfig)} - looked_at == {"checkpoint_steps"}
