"""The comparison of MERGE's parts, as a toy, and that its shortcut to resent text is the plain loop."""

from __future__ import annotations

import csv
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mpccompile
from mpccompile.merge.reuse import continued, scale_to_embeddings
from tests import models
from tests.merge.small import ids

EXAMPLE = runpy.run_path(str(Path(__file__).resolve().parents[2] / "examples" / "merge_quality.py"))


def test_all_models_are_trained_and_measured_and_a_second_run_is_the_same(tmp_path):
    setting = replace(EXAMPLE["QUICK"], width=16, context=24, steps=2, teacher_steps=3, prompts=3, batch=2)
    outcomes = EXAMPLE["main"](setting, tmp_path)
    arms = [EXAMPLE["SPACES"], *EXAMPLE["ARMS"]]
    assert [outcome.arm for outcome in outcomes] == arms
    for outcome in outcomes:
        assert (outcome.perplexity is None) == ("ER" in outcome.arm or outcome.arm == EXAMPLE["SPACES"])
        assert 0 <= outcome.exact <= outcome.right <= 1
    rows = list(csv.DictReader((tmp_path / "quality.csv").read_text().splitlines()))
    assert [row["arm"] for row in rows] == arms
    again = EXAMPLE["main"](setting, tmp_path, ["MM", "ER+MM"])
    kept = {outcome.arm: outcome for outcome in outcomes}
    assert [replace(one, seconds=0) for one in again] == [replace(kept[one.arm], seconds=0) for one in again]


@pytest.mark.parametrize("scaled", [False, True])
def test_resent_text_is_that_of_the_plain_loop(scaled):
    model, text = models.gpt2()[0], ids(2, 12)
    scale = scale_to_embeddings(model, [text]) if scaled else 1.0
    program = mpccompile.program(model, {"input_ids": text})
    with torch.no_grad():
        written = EXAMPLE["by_hidden_states"](program, text, 5, scale)
    assert torch.equal(written, continued(model, text[:, :5], 7))


def test_spaces_are_counted_at_the_end_of_each_text():
    rows = torch.full((2, 20), ord("x"))
    rows[0, -16:] = ord(" ")
    rows[1, -4:] = ord(" ")
    found = EXAMPLE["spaces"](0, rows)
    assert (found.right, found.exact) == (0.625, 0.5)


def test_text_from_tokens_is_the_greedy_one():
    model, text = models.gpt2()[0], ids(2, 12)
    program = mpccompile.program(model, {"input_ids": text})
    with torch.no_grad():
        written = EXAMPLE["by_tokens"](program, text, 5)
    choices = {"max_new_tokens": 7, "do_sample": False, "eos_token_id": None}
    expected = model.generate(text[:, :5], attention_mask=torch.ones(2, 5), **choices)
    assert torch.equal(written, expected)


def test_the_perplexity_is_that_of_the_loss():
    model, text = models.gpt2()[0], ids(3, 12)
    program = mpccompile.program(model, {"input_ids": text[:2]})
    with torch.no_grad():
        loss = model(input_ids=text, labels=text).loss
    assert EXAMPLE["perplexity"](program, text) == pytest.approx(float(loss.exp()), rel=1e-4)
