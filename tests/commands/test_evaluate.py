"""``mpccompile evaluate`` as a command."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

import mpccompile
from mpccompile.cli import app
from mpccompile.errors import InputError, OptionError
from tests.evaluation.cases import mlp_data

FUNCTIONS = """
from tests.evaluation.cases import mlp_data

def model(): return mlp_data()[0]
def data(): return mlp_data()[1]
def batches(): return iter([mlp_data()[1], mlp_data()[1]])
def nothing(): return None
"""


@pytest.fixture
def call(monkeypatch, tmp_path):
    """Run the command where a module of functions and a package are; return what it prints."""
    (tmp_path / "evaluate_cases.py").write_text(FUNCTIONS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        done = CliRunner().invoke(app, ["evaluate", *arguments])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


@pytest.fixture
def package(tmp_path):
    model, data = mlp_data()
    mpccompile.compile(model, example_inputs={"input": data["input"][:5]}).save(tmp_path / "package")
    np.savez(tmp_path / "test.npz", input=data["input"].numpy().astype(np.float64), labels=data["labels"].numpy())
    np.savez(tmp_path / "bare.npz", input=data["input"].numpy())
    return "package"


def test_a_package_and_an_npz(call, package):
    found = json.loads(call(package, "--data", "test.npz", "--limit", "10", "--json"))
    assert found["examples"] == 10
    assert [score["name"] for score in found["scores"]] == ["plaintext", "simulated", "private"]
    assert found["scores"][2]["accuracy"]["value"] == 0.6
    assert found["scores"][2]["agreement"]["value"] == 1.0
    assert found["forecast"]["same"] == 10
    with pytest.raises(InputError, match=r"there are no labels, only input at bare.npz"):
        call(package, "--data", "bare.npz")
    for option in (("--batch-size", "4"), ("--option", "gelu=quad"), ("--calibration", "test.npz")):
        with pytest.raises(OptionError, match=f"{option[0]} cannot change a package, which has been compiled"):
            call(package, "--data", "test.npz", *option)


def test_a_factory_and_a_function(call):
    text = call("evaluate_cases:model", "--data", "evaluate_cases:batches", "--calibration", "evaluate_cases:data")
    assert "Sequential: 40 examples, 8 to a call" in text
    assert "80.0%" in text
    with pytest.raises(InputError, match="a NoneType is no data set at evaluate_cases:nothing"):
        call("evaluate_cases:model", "--data", "evaluate_cases:nothing")
    with pytest.raises(OptionError, match="has no missing"):
        call("evaluate_cases:model", "--data", "evaluate_cases:missing")
    with pytest.raises(OptionError, match=r"there is no folder absent. Give the folder of a package, or a factory"):
        call("absent", "--data", "evaluate_cases:data")
