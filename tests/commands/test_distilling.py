"""The command `mpccompile distill`."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from mpccompile import cli
from mpccompile.errors import OptionError
from tests.distill.test_run import rows

FACTORIES = """
from tests.distill.test_run import rows
from tests.models import bert

def teacher(): return bert(padding_mask=True)
def bare(): return bert()[0]
def texts(): return rows(6)
"""


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Run the command in a folder with a module of factories."""
    (tmp_path / "distill_factories.py").write_text(FACTORIES, encoding="utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(cli.app, ["distill", *map(str, arguments)])


SHORT = ("--gelu", "quad", "--softmax", "2quad", "--set", "layers.epochs=2", "--set", "logits.epochs=1")


def test_weights_and_plots_are_written(call, tmp_path):
    np.savez(tmp_path / "rows.npz", **{name: column.numpy() for name, column in rows(5).items()})
    options = ["--data", "rows.npz", "--validation", "distill_factories:texts", "-o", "out", *SHORT]
    done = call("distill_factories:teacher", *options)
    assert done.exit_code == 0, done.output
    assert "out: 9 steps, validation metric" in done.output
    assert {"weights.safetensors", "checkpoint.safetensors", "log.csv", "loss.png"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }


def test_ablations_are_one_command(call, tmp_path):
    options = ["--data", "distill_factories:texts", "--test", "distill_factories:texts", "-o", "out", *SHORT]
    done = call("distill_factories:teacher", *options, "--ablations")
    assert done.exit_code == 0, done.output
    assert "w/o p,d" in done.output
    assert len((tmp_path / "out" / "ablations.csv").read_text().splitlines()) == 8


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (["--gelu", "cubic"], "'cubic' is no approximation of gelu"),
        (["--softmax", "*.nowhere=2quad"], "the pattern '*.nowhere' matches no softmax of this model"),
    ],
)
def test_an_approximation_that_is_not_there_is_told_before_anything_is_trained(call, tmp_path, choice, message):
    options = ["--data", "distill_factories:texts", "-o", "out", *choice]
    done = call("distill_factories:teacher", *options)
    assert done.exit_code == 1
    assert message in str(done.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["distill_factories:teacher", "-o", "out"], "--data"),
        (["distill_factories:teacher", "--data", "distill_factories:texts"], "--output"),
        (["distill_factories:bare", "--data", "a:b", "-o", "out", "--gelu", "quad"], "no example inputs"),
        (["distill_factories:teacher", "--data", "a:b", "-o", "out", "--ablations"], "--test"),
        (["distill_factories:teacher", "--data", "a:b", "-o", "out", "--test", "a:b"], "it is for --ablations"),
    ],
)
def test_what_is_missing_is_a_usage_error(call, arguments, message):
    done = call(*arguments)
    assert done.exit_code == 2
    assert message in done.output


def test_a_student_that_is_the_teacher_is_refused(call, tmp_path):
    options = ["--data", "distill_factories:texts", "-o", "out"]
    done = call("distill_factories:teacher", *options)
    assert isinstance(done.exception, OptionError)
    assert "nothing is approximated" in str(done.exception)
    assert not (tmp_path / "out").exists()
    labels = ["--set", "labels.epochs=1", "--set", "layers.epochs=1"]
    done = call("distill_factories:teacher", *options, *labels, "--set", "logits=none")
    assert done.exit_code == 0, done.output
    assert "only the stage of labels has something to learn" in done.stderr
