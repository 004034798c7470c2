"""The demo itself, shortened: private answers are the plaintext ones."""

from __future__ import annotations

import io

from rich.console import Console

from mpccompile.demo.run import run_demo


def test_private_answers_are_the_plaintext_ones() -> None:
    screen = io.StringIO()
    result = run_demo(Console(file=screen, width=120), test_snippets=16, training_steps=30)
    assert result.snippets == 16
    assert result.agreement == 1.0
    assert result.private_accuracy == result.plaintext_accuracy
    assert result.largest_difference < 1e-2
    assert "Online cost by operation" in screen.getvalue()
