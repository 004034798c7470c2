"""Losses against their formulas, by hand."""

from __future__ import annotations

import pytest
import torch

from mpccompile.distill.losses import LayerLoss, LogitLoss, label_loss, real_tokens
from mpccompile.distill.match import Pair, Tokens

# Two rows of three tokens; the second row's last token is padding.
MASK = torch.tensor([[True, True, True], [True, True, False]])[:, None, None, :]
TOKENS = Tokens("mask", (2, 1, 3, 3))
SCORES = Pair("attention", "a", "scores", "scores", (2, 1, 3, 3), "mask", TOKENS)
HIDDEN = Pair("hidden", "a", "hidden", "hidden", (2, 3, 4), None, TOKENS)
ALL = torch.tensor([True, True])


@pytest.fixture
def teacher():
    return {"scores": torch.randn(2, 1, 3, 3), "hidden": torch.randn(2, 3, 4), "mask": MASK}


@pytest.fixture
def student():
    return {"scores": torch.randn(2, 1, 3, 3), "hidden": torch.randn(2, 3, 4)}


def test_tokens_that_nobody_sees_are_padding():
    assert real_tokens(TOKENS, {"mask": MASK}, 2).tolist() == [[True, True, True], [True, True, False]]
    causal = torch.ones(3, 3, dtype=torch.bool).tril()
    assert real_tokens(TOKENS, {"mask": causal}, 2).all()


def test_padding_is_left_out(teacher, student):
    loss = LayerLoss((SCORES, HIDDEN))(teacher, student, ALL)
    scores = (student["scores"] - teacher["scores"]).square()
    kept = torch.cat([scores[0].flatten(), scores[1, :, :2, :2].flatten()])
    assert torch.allclose(loss["attention"], kept.mean())
    hidden = (student["hidden"] - teacher["hidden"]).square()
    assert torch.allclose(loss["hidden"], torch.cat([hidden[0].flatten(), hidden[1, :2].flatten()]).mean())


def test_padding_counts_as_in_mpcformer_when_asked_to(teacher, student):
    teacher["scores"][0, 0, 0, 0] = -150.0
    loss = LayerLoss((SCORES, HIDDEN), count_padding=True)(teacher, student, ALL)
    mine, theirs = (torch.where(MASK, values["scores"], 0.0) for values in (student, teacher))
    theirs = torch.where(theirs <= -1e2, 0.0, theirs)
    assert torch.allclose(loss["attention"], torch.nn.functional.mse_loss(mine, theirs))
    assert torch.allclose(loss["hidden"], torch.nn.functional.mse_loss(student["hidden"], teacher["hidden"]))


@pytest.mark.parametrize("count_padding", [False, True])
def test_rows_that_fill_up_a_batch_count_for_nothing(teacher, student, count_padding):
    loss = LayerLoss((SCORES, HIDDEN), count_padding)
    rows = torch.tensor([True, False])
    before = loss(teacher, student, rows)
    for values in (teacher, student):
        values["scores"][1] = 1e6 * torch.randn(1, 3, 3)
        values["hidden"][1] = torch.inf
    after = loss(teacher, student, rows)
    assert before["attention"] == after["attention"]
    assert before["hidden"] == after["hidden"]


def test_logits_are_compared_by_soft_cross_entropy():
    teacher, student = torch.randn(3, 4), torch.randn(3, 4)
    rows = torch.tensor([True, True, False])
    expected = -(torch.softmax(teacher / 2, 1) * torch.log_softmax(student / 2, 1)).sum(1)[:2].mean()
    assert torch.allclose(LogitLoss(regression=False, temperature=2.0)(teacher, student, rows, {}), expected)
    over = LogitLoss(regression=False, temperature=2.0, mean_over_classes=True)(teacher, student, rows, {})
    assert torch.allclose(over, expected / 4)


def test_numbers_are_compared_by_squared_error():
    teacher, student = torch.randn(3, 1), torch.randn(3, 1)
    loss = LogitLoss(regression=True)(teacher, student, torch.tensor([True, False, True]), {})
    assert torch.allclose(loss, (teacher - student).square()[[0, 2]].mean())


def test_answers_at_padded_tokens_are_left_out():
    teacher, student = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    loss = LogitLoss(regression=False, tokens=TOKENS)
    before = loss(teacher, student, ALL, {"mask": MASK})
    student[1, 2] = 100 * torch.randn(5)
    assert loss(teacher, student, ALL, {"mask": MASK}) == before


def test_labels_of_nothing_count_for_nothing():
    logits = torch.randn(2, 3, 5)
    labels = torch.tensor([[1, 2, -100], [0, -100, -100]])
    expected = torch.nn.functional.cross_entropy(logits.reshape(-1, 5), labels.reshape(-1), ignore_index=-100)
    assert torch.allclose(label_loss(logits, labels, ALL, regression=False), expected)
    numbers = label_loss(logits[:, :1, 0], torch.zeros(2), ALL, regression=True)
    assert torch.allclose(numbers, logits[:, 0, 0].square().mean())
