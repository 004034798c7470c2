"""Ablations leave out what they say."""

from __future__ import annotations

import csv
from dataclasses import replace

import pytest

from mpccompile.distill import ablations
from mpccompile.distill.ablations import ARMS, Ablations, Outcome, Plan, ablate
from mpccompile.distill.config import DistillationConfig, Stage
from mpccompile.errors import DataError, DistillationError, Diverged, OptionError
from tests import models
from tests.distill.approximate import student_of
from tests.distill.test_run import rows

CONFIG = DistillationConfig(layers=Stage(2, 3e-3), logits=Stage(1, 1e-3, "linear", 0.1))


def run(**changes):
    model, inputs = models.bert(padding_mask=True)
    given = {"data": rows(5), "test": rows(6, seed=3), "config": CONFIG} | changes
    return ablate(model, lambda each: student_of(each, inputs), given.pop("data"), given.pop("test"), **given)


def test_every_arm_is_measured_and_written(tmp_path):
    found = run(plan=Plan(seeds=(1,), folder=tmp_path, progress=False))
    assert [outcome.arm for outcome in found.outcomes] == ["teacher", "no training", *ARMS]
    assert all(0 <= outcome.metric <= 1 for outcome in found.outcomes)
    with (tmp_path / "ablations.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [row["arm"] for row in written] == [outcome.arm for outcome in found.outcomes]
    assert (tmp_path / "wo-pd-1" / "log.csv").exists()


@pytest.mark.parametrize(
    ("arm", "stages"),
    [
        ("full", ["layers", "logits"]),
        ("w/o stage 1", ["logits"]),
        ("w/o stage 2", ["layers"]),
        ("w/o d", ["labels"]),
        ("w/o p,d", ["labels"]),
    ],
)
def test_an_arm_is_the_config_without_a_part(arm, stages):
    config = ablations._without(arm, CONFIG)
    assert [name for name, _stage in config.stages()] == stages
    if "labels" in stages:
        # As often through the data as the full distillation, at the higher of its rates.
        assert config.labels == Stage(3, 3e-3, "linear", 0.1)
        own = Stage(9, 1e-4)
        assert ablations._without(arm, replace(CONFIG, labels=own)).labels == own


def test_without_pretraining_the_weights_are_random(monkeypatch):
    seen = []
    model, inputs = models.bert(padding_mask=True)

    def student(each):
        seen.append(each)
        return student_of(each, inputs)

    plan = Plan(arms=("full", "w/o p,d"), seeds=(1, 2), progress=False)
    ablate(model, student, rows(2), rows(2), config=CONFIG, plan=plan)
    assert [each is model for each in seen] == [True, False, False]


def test_a_generator_may_select_and_judge():
    texts = (row for row in [rows(3), rows(2, seed=4)])
    found = run(test=texts, validation=texts, plan=Plan(arms=("w/o stage 1",), progress=False))
    assert len(found.outcomes) == 3


def test_an_arm_that_there_is_none_of_is_refused():
    with pytest.raises(OptionError, match="no arm w/o x"):
        Plan(arms=("w/o x",))


def test_reporting_needs_labels():
    with pytest.raises(DataError, match="there are no labels, only input_ids, attention_mask at test"):
        run(test={name: column for name, column in rows(4).items() if name != "labels"})


def test_results_that_have_no_place_are_told(tmp_path):
    with pytest.raises(DistillationError, match="cannot be written"):
        Ablations(()).save(tmp_path / "absent" / "ablations.csv")


def test_the_table_has_mean_and_deviation():
    found = Ablations((Outcome("full", 0, 0.5, 1.0), Outcome("full", 1, 0.7, 3.0), Outcome("teacher", 0, 0.9, 0.0)))
    assert found.metrics("full") == [0.5, 0.7]
    cells = [list(column.cells) for column in found.table().columns]
    assert cells == [["full", "teacher"], ["0.6000", "0.9000"], ["0.1414", ""], ["2", "1"], ["2.0", "0.0"], ["", ""]]


def test_what_is_trained_is_written_before_anybody_looks_at_it(tmp_path):
    def fail(_outcome, _student):
        raise RuntimeError("the private run failed")

    with pytest.raises(RuntimeError, match="private run"):
        run(plan=Plan(("full",), (1,), tmp_path, progress=False), keep=fail)
    with (tmp_path / "ablations.csv").open() as file:
        assert "full" in {row["arm"] for row in csv.DictReader(file)}


def test_an_arm_that_diverges_does_not_end_the_others(tmp_path):
    wild = replace(CONFIG, logits=Stage(9, 1e18))
    plan = Plan(("full", "w/o stage 2", "w/o stage 1"), (1, 2), tmp_path, progress=False)
    kept = []
    found = run(config=wild, plan=plan, keep=lambda outcome, _student: kept.append(outcome.arm))
    assert kept == ["w/o stage 2"] * 2
    assert [len(found.metrics(arm)) for arm in plan.arms] == [0, 2, 0]
    with (tmp_path / "ablations.csv").open() as file:
        written = {(row["arm"], row["seed"]): row for row in csv.DictReader(file)}
    assert len(written) == 8
    assert written["full", "2"]["metric"] == ""
    # Six steps of the first stage went well.
    assert int(written["full", "1"]["note"].split()[3].rstrip(":")) > 6
    assert "of the stage of logits is NaN or infinite" in written["full", "1"]["note"]
    cells = [list(column.cells) for column in found.table().columns]
    assert cells[1][cells[0].index("full")] == ""
    assert cells[5][cells[0].index("full")].startswith("seed 1 diverged at step ")


def test_where_everything_diverges_there_is_nothing_to_compare(tmp_path):
    wild = replace(CONFIG, layers=Stage(30, 1e18))
    with pytest.raises(Diverged, match="of the stage of layers is NaN"):
        run(config=wild, plan=Plan(("full", "w/o stage 2"), (1,), tmp_path, progress=False))
    assert "diverged" in (tmp_path / "ablations.csv").read_text()
