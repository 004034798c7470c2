"""Each level tells what it says, and all of those below it."""

from __future__ import annotations

import re

import pytest

from mpccompile import compiler, debugging
from mpccompile.options import Options
from tests import models

PHASES = ["captured", "lowered", "recognised", "approximated", "optimised"]


@pytest.fixture
def told(monkeypatch, capsys, tmp_path):
    def run(level):
        monkeypatch.setenv(debugging.VARIABLE, level)
        model, inputs = models.mlp()
        package = compiler.build(model, inputs, tmp_path / "package", options=Options())
        return capsys.readouterr().err, package

    return run


@pytest.mark.parametrize("level", ["", "0"])
def test_nothing_is_told_unless_asked(told, level):
    assert told(level)[0] == ""


def test_1_is_how_long_each_phase_takes(told):
    lines = told("1")[0].splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "capture",
        "lower",
        "recognise",
        "approximate",
        "passes",
        "calibrate",
        "write",
    ]
    assert all(re.fullmatch(r"\w+: \d+\.\d{3} s", line) for line in lines)


def test_2_is_what_each_pass_does(told):
    said, package = told("2")
    passes = [line for line in said.splitlines() if "changes" in line]
    assert [line.split(":")[0] for line in passes] == [record.name for record in package.history]
    assert all(re.fullmatch(r"\w+: \d+ changes, \d+\.\d ms, [+-]\d+ nodes", line) for line in passes)


def test_3_is_the_graph_after_each_phase(told):
    said, _ = told("3")
    assert re.findall(r"^# (\w+)$", said, flags=re.MULTILINE) == PHASES
    assert said.count("program Sequential\n") == len(PHASES)


def test_4_is_the_graph_after_each_pass_that_changed_it(told):
    said, package = told("4")
    changed = [record.name for record in package.history if record.changes]
    assert changed
    assert re.findall(r"^# after (\w+): \d+ changes", said, flags=re.MULTILINE) == changed
    assert said.count("program Sequential\n") == len(PHASES) + len(changed)
    assert "# model.py" not in said


def test_5_is_the_generated_program(told):
    said, package = told("5")
    assert (package.folder / "model.py").read_text(encoding="utf-8") in said


@pytest.mark.parametrize(("text", "level"), [("", 0), ("0", 0), ("3", 3), ("9", 9), ("yes", 1), ("-1", 1), (" 2 ", 2)])
def test_a_level_is_a_number_and_anything_else_is_1(monkeypatch, text, level):
    monkeypatch.setenv(debugging.VARIABLE, text)
    assert debugging.level() == level


def test_graphs_are_told_the_same_each_time(told):
    def graphs(said):
        return [line for line in said.splitlines() if line.startswith(("%", "return", "program"))]

    assert graphs(told("4")[0]) == graphs(told("4")[0])
