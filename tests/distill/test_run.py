"""Whole distillations of a tiny BERT."""

from __future__ import annotations

import copy
import errno
import functools
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mpccompile
from mpccompile.distill import checkpoint, trainer
from mpccompile.distill.config import DistillationConfig, Stage
from mpccompile.distill.objective import Scores
from mpccompile.distill.trainer import Trainer
from mpccompile.errors import DataError, DistillationError
from mpccompile.ir.verify import max_error
from tests import models
from tests.distill.approximate import student_of

ROOT = Path(__file__).resolve().parents[2]
SHORT = DistillationConfig(layers=Stage(4, 3e-3), logits=Stage(4, 1e-3, "linear", 0.1), checkpoint_steps=3)


@functools.cache
def pair():
    """A teacher, its program and its student; nothing changes them."""
    model, inputs = models.bert(padding_mask=True)
    return model, mpccompile.program(model, inputs), student_of(model, inputs)


def rows(count=7, seed=0):
    """Texts of random length; an odd number of them leaves the last batch of two incomplete."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, models.VOCAB, (count, models.LENGTH), generator=generator)
    lengths = torch.randint(2, models.LENGTH + 1, (count, 1), generator=generator)
    return {
        "input_ids": ids,
        "attention_mask": (torch.arange(models.LENGTH) < lengths).long(),
        "labels": (ids[:, 0] > 30).long(),
    }


def distilled(**changes):
    given = {"data": rows(), "config": SHORT, "progress": False} | changes
    _model, teacher, student = pair()
    return mpccompile.distill(given.pop("teacher", teacher), given.pop("student", student), given.pop("data"), **given)


def same(one, other):
    mine, its = one.state_dict(), other.state_dict()
    return mine.keys() == its.keys() and all(torch.equal(mine[name], its[name]) for name in mine)


def test_both_stages_learn_and_the_inputs_stay_as_they_were():
    model, teacher, student = pair()
    before = copy.deepcopy(model.state_dict())
    result = distilled(validation=rows(8, seed=1), config=replace(SHORT, layers=Stage(25, 3e-3), logits=Stage(8, 1e-3)))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not same(result, mpccompile.distill.Distilled(student, (), SHORT, None))
    for stage in ("layers", "logits"):
        losses = [record.validation_loss for record in result.history if record.stage == stage]
        judged = [loss for loss in losses if loss is not None]
        assert judged[-1] < judged[0], stage
    attention = [record.attention for record in result.history if record.stage == "layers"]
    assert attention[-1] < attention[0]
    assert max_error(result.program) == 0.0
    assert teacher.module is pair()[1].module


def test_a_model_is_a_teacher_too():
    assert same(distilled(teacher=pair()[0]), distilled())


def test_the_student_needs_no_teacher_afterwards():
    model, inputs = models.bert(padding_mask=True)
    result = distilled()
    copied = result.load_into(copy.deepcopy(model))
    program = student_of(copied, inputs)
    assert torch.allclose(program.module(*program.example_inputs)[0], result.program.reference[0], atol=1e-6)


def test_loading_into_another_model_changes_nothing():
    result = distilled()
    other = models.gpt2()[0]
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(DistillationError, match="and the model has none"):
        result.load_into(other)
    assert all(torch.equal(before[name], value) for name, value in other.state_dict().items())


def test_tied_weights_stay_tied():
    model, inputs = models.gpt2()
    rows = {"input_ids": torch.randint(5, models.VOCAB, (4, models.LENGTH))}
    result = mpccompile.distill(model, student_of(model, inputs), rows, config=SHORT, progress=False)
    loaded = result.load_into(copy.deepcopy(model))
    assert loaded.lm_head.weight is loaded.transformer.wte.weight
    assert torch.equal(loaded.transformer.wte.weight, result.state_dict()["lm_head.weight"])
    assert not torch.equal(loaded.lm_head.weight, model.lm_head.weight)


def test_filling_rows_change_nothing():
    """Seven rows fill three batches and a half; whatever fills the last, each epoch sees each row once."""
    with_one = distilled(data=rows(1), config=replace(SHORT, layers=Stage(2, 1e-3), logits=None))
    same_row = {name: value.repeat(2, *[1] * (value.dim() - 1)) for name, value in rows(1).items()}
    with_two = distilled(data=same_row, config=replace(SHORT, layers=Stage(2, 1e-3), logits=None))
    for one, two in zip(with_one.history, with_two.history, strict=True):
        assert one.loss == pytest.approx(two.loss, rel=1e-4)


@functools.cache
def whole_run(config):
    return distilled(config=config, validation=rows(5, seed=1))


# Before the first checkpoint, within and at the end of an epoch, at the end of a stage, and in the second stage.
@pytest.mark.parametrize(("stop", "dropout"), [(2, 0.0), (7, 0.0), (8, 0.0), (16, 0.0), (29, 0.0), (7, 0.2), (29, 0.2)])
def test_a_run_goes_on_bit_for_bit(tmp_path, monkeypatch, stop, dropout):
    config = replace(SHORT, teacher_dropout=dropout, dropout=dropout)
    validation = rows(5, seed=1)
    whole = whole_run(config)
    step = Trainer._step

    def stopping(self, *arguments):
        if self._state.total == stop:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        distilled(config=config, validation=validation, folder=tmp_path)
    monkeypatch.setattr(Trainer, "_step", step)
    # Whatever else the process draws in between does not matter.
    torch.manual_seed(stop)
    again = distilled(config=config, validation=validation, folder=tmp_path)
    assert same(again, whole)
    assert [replace(record, seconds=0) for record in again.history] == [
        replace(record, seconds=0) for record in whole.history
    ]


@pytest.mark.parametrize("stop", [7, 16])
def test_what_has_not_begun_may_change(tmp_path, monkeypatch, stop):
    validation = rows(5, seed=1)
    changed = replace(SHORT, logits=Stage(2, 5e-3), checkpoint_steps=5, temperature=2.0)
    step = Trainer._step

    def stopping(self, *arguments):
        if self._state.total == stop:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        distilled(config=SHORT, validation=validation, folder=tmp_path)
    monkeypatch.setattr(Trainer, "_step", step)
    again, whole = distilled(config=changed, validation=validation, folder=tmp_path), whole_run(changed)
    assert same(again, whole)
    assert [replace(each, seconds=0) for each in again.history] == [replace(each, seconds=0) for each in whole.history]
    # The folder is now of the changed run.
    with pytest.raises(DistillationError, match=r"logits.epochs was 2 and is 4; .*temperature was 2.0 and is 1.0"):
        distilled(config=SHORT, validation=validation, folder=tmp_path)


SCRIPT = """
import sys, time
from mpccompile.distill.trainer import Trainer
from tests.distill.test_run import distilled
step = Trainer._step
def slow(self, *arguments):
    time.sleep(0.05)
    return step(self, *arguments)
Trainer._step = slow
distilled(folder=sys.argv[1])
"""


def test_a_killed_run_goes_on(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path)], env=environment)
    deadline = time.monotonic() + 250
    while not (tmp_path / checkpoint.FILE).exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    begun = checkpoint.load(tmp_path, _fingerprints(SHORT))[0]
    assert 0 < begun.total < 32
    assert same(distilled(folder=tmp_path), distilled())


def test_a_finished_run_is_not_trained_again(tmp_path, monkeypatch):
    first = distilled(folder=tmp_path)
    monkeypatch.setattr(Trainer, "_step", None)
    again = distilled(folder=tmp_path)
    assert same(first, again)
    assert again.history == first.history


def test_a_folder_of_another_run_is_refused(tmp_path):
    distilled(folder=tmp_path)
    with pytest.raises(DistillationError, match=r"another run: seed was 42 and is 1 at"):
        distilled(folder=tmp_path, config=replace(SHORT, seed=1))
    with pytest.raises(DistillationError, match="its data differs"):
        distilled(folder=tmp_path, data=rows(seed=5))


def test_a_number_that_is_none_is_traced_to_its_place(tmp_path):
    _model, _teacher, student = pair()
    distilled(folder=tmp_path / "good")
    broken = mpccompile.distill.Distilled(student, (), SHORT, None).state_dict()
    broken["bert.encoder.layer.1.output.dense.bias"][:] = torch.inf
    from mpccompile.distill.graphs import with_weights

    place = r"layer\.1\.output\.dense\.bias"
    with pytest.raises(DistillationError, match=rf"step 1 of the stage of layers .*{place}.* before it was trained"):
        distilled(student=with_weights(student, broken), folder=tmp_path / "bad")


def test_a_learning_rate_that_diverges_keeps_the_last_good_weights(tmp_path):
    wild = replace(SHORT, layers=Stage(30, 1e18), checkpoint_steps=1)
    with pytest.raises(DistillationError, match=r"stage of layers is NaN or infinite.*Lower the learning rate.*check"):
        distilled(config=wild, folder=tmp_path)
    state, tensors = checkpoint.load(tmp_path, _fingerprints(wild))
    assert state.total >= 1
    assert all(bool(torch.isfinite(tensor).all()) for name, tensor in tensors.items() if name.startswith("weight/"))


def test_a_last_step_that_ruins_the_weights_is_told_of():
    # Rows enough for one step of each stage: no further step of the last one tells what the rate did.
    ruinous = replace(SHORT, layers=Stage(1, 1e-3), logits=Stage(1, 1e30))
    with pytest.raises(DistillationError, match="the loss after the last step of the stage of logits is NaN or inf"):
        distilled(data=rows(2), config=ruinous)


def test_a_score_that_is_no_number_is_never_the_best(monkeypatch):
    real, seen = trainer.evaluate, []

    def scored(first):
        def evaluate(*arguments):
            seen.append(1)
            return Scores(first, first) if len(seen) == 1 else real(*arguments)

        seen.clear()
        monkeypatch.setattr(trainer, "evaluate", evaluate)
        return distilled(validation=rows(8, seed=1))

    assert same(scored(math.nan), scored(1e9))


def test_a_later_stage_that_diverged_starts_again_where_the_one_before_ended(tmp_path):
    wild = replace(SHORT, logits=Stage(30, 1e18), checkpoint_steps=1)
    with pytest.raises(DistillationError, match="stage of logits is NaN or infinite"):
        distilled(config=wild, folder=tmp_path)
    mended = replace(wild, logits=Stage(2, 1e-4))
    resumed = distilled(config=mended, folder=tmp_path)
    whole = distilled(config=mended)
    assert same(resumed, whole)
    # What is done may not change: there is nothing to start it from.
    with pytest.raises(DistillationError, match=r"layers\.learning_rate"):
        distilled(config=replace(mended, layers=Stage(SHORT.layers.epochs, 7e-3)), folder=tmp_path)


def _fingerprints(config):
    from mpccompile.distill.run import prepare

    _model, teacher, student = pair()
    return prepare(teacher, student, rows(), None, config).fingerprints()


def test_the_best_weights_are_kept():
    # The rate is so high that the last weights are not the best.
    config = replace(SHORT, layers=Stage(12, 0.3), logits=None)
    result = distilled(config=config, validation=rows(6, seed=2))
    judged = [record.validation_loss for record in result.history if record.validation_loss is not None]
    assert result.scores.loss == pytest.approx(min(judged), rel=1e-5)
    assert min(judged) != judged[-1]
    last = distilled(config=replace(config, select="last"), validation=rows(6, seed=2))
    assert last.scores.loss == pytest.approx(judged[-1], rel=1e-5)


def test_labels_alone_need_no_teacher():
    config = replace(SHORT, layers=None, logits=None, labels=Stage(30, 1e-2))
    result = distilled(teacher=None, config=config, validation=rows())
    assert result.scores.metric == 1.0
    with pytest.raises(DistillationError, match="no teacher to learn from"):
        distilled(teacher=None)


def test_a_share_of_the_data_can_be_held_out():
    assert distilled().scores is None
    result = distilled(config=replace(SHORT, holdout=0.3))
    assert result.scores is not None
    assert result.history[-1].step == 8 * 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"input_ids": rows()["input_ids"]}}, "input attention_mask is missing at data"),
        ({"validation": [{}]}, r"is missing at validation\[0\]"),
        ({"validation": rows() | {"labels": torch.full((7,), 5)}}, "a class outside 0..1 at row 0 of validation"),
    ],
)
def test_wrong_data_is_told_before_training(changes, message, monkeypatch):
    monkeypatch.setattr(Trainer, "_step", None)
    with pytest.raises(DataError, match=message):
        distilled(**changes)


def test_a_teacher_of_another_shape_is_refused():
    model, inputs = models.bert(padding_mask=True)
    short = {name: value[:, :4] for name, value in inputs.items()}
    with pytest.raises(DistillationError, match=r"teacher takes input_ids \[2, 4\]"):
        distilled(teacher=mpccompile.program(model, short))


def test_everything_is_written(tmp_path):
    result = distilled(validation=rows(4))
    result.save(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "weights.safetensors",
        "log.csv",
        "config.json",
        "loss.png",
        "loss.svg",
    }
    from safetensors.torch import load_file

    saved = load_file(tmp_path / "out" / "weights.safetensors")
    assert saved.keys() == result.state_dict().keys()
    svg = (tmp_path / "out" / "loss.svg").read_text()
    result.save(tmp_path / "again")
    assert (tmp_path / "again" / "loss.svg").read_text() == svg


@pytest.mark.parametrize("file", ["weights.safetensors", "log.csv", "config.json", "loss.svg", "loss.png"])
def test_a_result_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch, file):
    result = distilled(config=replace(SHORT, layers=Stage(1, 1e-3), logits=None))
    result.save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    move = Path.replace

    def full(self, target):
        if Path(target).name == file:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        return move(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DistillationError, match=rf"No space left on device.* at .*{file}.* Make room or choose"):
        result.save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
