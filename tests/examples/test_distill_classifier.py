"""The example of distillation, shortened, on both of its tasks."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "distill_classifier.py"


@pytest.mark.parametrize("task", ["snippets", "digits"])
def test_students_are_compared_with_their_teacher(task, capsys):
    if task == "digits":
        pytest.importorskip("sklearn.datasets", reason="the digits are scikit-learn's")
    found = runpy.run_path(str(EXAMPLE))["main"](["--task", task, "--quick", "--seeds", "1", "--private", "16"])
    assert [outcome.arm for outcome in found.outcomes] == ["teacher", "no training", "full", "w/o d"]
    said = capsys.readouterr().out
    assert "w/o d" in said
    assert "private" in said
