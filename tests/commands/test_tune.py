"""``mpccompile tune`` as a command."""

from __future__ import annotations

import json
import sys

import pytest
from typer.testing import CliRunner

from mpccompile.cli import app

FUNCTIONS = """
from tests.evaluation.cases import bert_data, mlp_data

def bert(): return bert_data()[0]
def texts(): return bert_data()[1]
def mlp(): return mlp_data()[0]
def points(): return mlp_data()[1]
"""


@pytest.fixture
def call(monkeypatch, tmp_path):
    (tmp_path / "tune_cases.py").write_text(FUNCTIONS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        done = CliRunner().invoke(app, ["tune", *arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


def test_a_model_is_tuned_for_a_network(call):
    arguments = ("tune_cases:bert", "--data", "tune_cases:texts", "--budget", "1", "--network", "wan")
    text = call(*arguments, "--candidate", "gelu=quad", "--limit", "8")
    assert "wan: at most 100.0% of accuracy may be lost, 8 examples" in text
    assert "--gelu 'bert.encoder.layer.0.intermediate.intermediate_act_fn=quad'" in text


def test_json_and_nothing_to_do(call):
    arguments = ("tune_cases:mlp", "--data", "tune_cases:points", "--budget", "0.1")
    assert json.loads(call(*arguments, "--json"))["options"] == {}
    assert "Nothing is worth approximating." in call(*arguments)
