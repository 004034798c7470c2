"""Truncation by choice: exact by default, local by name, and the report then says what that risks."""

from __future__ import annotations

import pytest
import torch

import mpccompile
from tests import models


@pytest.fixture(scope="module")
def runs():
    """Return the answer, the profile and the text of each choice, and the plaintext answer."""
    model, inputs = models.bert()
    found = {}
    for choice in ("exact", "local"):
        with mpccompile.compile(model, example_inputs=inputs, truncation=choice) as private:
            found[choice] = private(**inputs).logits, private.last_profile(), private.report()
    with torch.no_grad():
        return found, model(**inputs).logits


@pytest.mark.parametrize("choice", ["exact", "local"])
def test_either_gives_the_models_answer_and_costs_what_was_predicted(runs, choice):
    found, expected = runs
    answer, profile, _text = found[choice]
    assert (answer - expected).abs().max() < 1e-3
    assert profile.static_agrees


def test_local_truncation_saves_rounds_and_is_said_to_fail(runs):
    found, _expected = runs
    _, exact, said_of_exact = found["exact"]
    _, local, said = found["local"]
    assert local.rounds < exact.rounds
    assert exact.wraps == 0
    assert 0 < local.wraps < 1e-3
    assert "truncated locally" not in said_of_exact
    assert "wrong by 2^32 with a probability of" in " ".join(said.split())
