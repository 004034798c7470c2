"""The example of private completion, shortened."""

from __future__ import annotations

import runpy
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "complete_code.py"


def test_the_completion_is_the_plain_models_and_is_shown_as_it_comes(capsys):
    private, plain = runpy.run_path(str(EXAMPLE))["main"](training_steps=60, new_tokens=16)
    assert private == plain
    assert private in capsys.readouterr().out
