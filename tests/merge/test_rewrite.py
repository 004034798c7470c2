"""Merged models: what goes, what stays, and what they compute."""

from __future__ import annotations

import copy

import pytest
import torch

from mpccompile.errors import CaptureFailed, OptionError
from mpccompile.merge.constant_attention import Affine
from mpccompile.merge.extract import averages
from mpccompile.merge.rewrite import MergeConfig, deployed, merged
from tests import models
from tests.merge.small import FORMS, ids, merged_of


def answers(model, text):
    with torch.no_grad():
        return model(input_ids=text).logits


def attends_evenly(family):
    """A teacher whose attention is a constant already: its queries are 0."""
    teacher = models.FAMILIES[family]()[0]
    with torch.no_grad():
        for name, weight in teacher.named_parameters():
            if "c_attn" in name:
                weight[..., : models.HIDDEN] = 0
            elif "q_proj" in name:
                weight.zero_()
    return teacher


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen2"])
def test_a_teacher_of_constant_attention_is_merged_without_a_loss(family):
    teacher = attends_evenly(family)
    before = copy.deepcopy(teacher.state_dict())
    student = merged(teacher, averages(teacher, [{"input_ids": ids()}]))
    torch.testing.assert_close(answers(student, ids(seed=9)), answers(teacher, ids(seed=9)), atol=1e-4, rtol=1e-4)
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


@pytest.mark.parametrize("form", FORMS)
def test_queries_keys_and_softmax_are_gone_and_the_rest_is_there(form):
    student = merged_of(form=form)
    names = dict(student.named_parameters())
    assert not [name for name in names if "c_attn" in name]
    assert student.lm_head.weight is student.transformer.wte.weight
    assert sum(name.endswith("matrix.scores") for name in names) == models.LAYERS
    assert type(student).__name__ == "GPT2LMHeadModel"


def test_the_residual_form_is_the_layer_with_a_matrix_for_its_attention():
    student = merged_of()
    block, x = student.transformer.h[0], torch.randn(2, 6, models.HIDDEN)
    values = block.attn.value(block.ln_1(x)).unflatten(-1, (models.HEADS, -1)).transpose(1, 2)
    mixed = torch.matmul(block.attn.matrix.rows(6), values).transpose(1, 2).flatten(2)
    middle = x + block.attn.output(mixed)
    torch.testing.assert_close(block(x), middle + block.mlp(block.ln_2(middle)))


def test_the_affine_form_starts_as_a_norm_of_average_deviation():
    teacher = models.gpt2()[0]
    found = averages(teacher, [{"input_ids": ids()}])
    student = merged(teacher, found, FORMS["affine"])
    norm, first = teacher.transformer.h[0].ln_1, student.transformer.h[0].ln_1
    assert isinstance(first, Affine)
    # Of mean 0 and the average deviation, a value leaves both alike.
    x = torch.randn(4, models.HIDDEN)
    x = (x - x.mean(-1, keepdim=True)) / x.std(-1, unbiased=False, keepdim=True) / found.inverse_deviations[0]
    torch.testing.assert_close(first(x), norm(x), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("matrix", ["public", "secret"])
@pytest.mark.parametrize("form", FORMS)
def test_a_deployed_model_answers_as_the_trained_one(form, matrix):
    student, text = merged_of(form=form), ids(seed=8)
    ready = deployed(student, matrix=matrix)
    torch.testing.assert_close(answers(ready, text), answers(student, text), atol=1e-5, rtol=1e-4)
    assert not [part for part in ready.modules() if isinstance(part, Affine)]
    assert any(name.endswith("matrix.weights") for name in ready.state_dict()) == (matrix == "secret")
    assert any(name.endswith("matrix.scores") for name, _ in student.named_parameters())


@pytest.mark.parametrize("form", FORMS)
def test_no_token_changes_what_comes_before_it(form):
    student, text = merged_of(form=form), ids()
    other = text.clone()
    other[:, 7] = (other[:, 7] + 1) % models.VOCAB
    one, two = answers(student, text), answers(student, other)
    torch.testing.assert_close(one[:, :7], two[:, :7])
    assert not torch.allclose(one[:, 7:], two[:, 7:])


def test_transformers_generates_with_a_cache_as_without_one():
    student, text = merged_of(), ids(1, 5)
    choices = {"max_new_tokens": 5, "do_sample": False, "attention_mask": torch.ones_like(text), "eos_token_id": None}
    one, two = (student.generate(text, use_cache=cached, **choices) for cached in (True, False))
    assert torch.equal(one, two)


@pytest.mark.parametrize("form", FORMS)
def test_everything_learns(form):
    student = merged_of(form=form)
    student(input_ids=ids()).logits.square().mean().backward()
    assert [name for name, weight in student.named_parameters() if weight.grad is None] == []


def test_what_cannot_be_merged_is_refused():
    teacher = models.llama()[0]
    found = averages(teacher, [{"input_ids": ids()}])
    with pytest.raises(CaptureFailed, match="gates"):
        merged(teacher, found, FORMS["mix-first"])
    with pytest.raises(OptionError, match="choice"):
        MergeConfig(form="last")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="no constant attention"):
        deployed(models.gpt2()[0])
    with pytest.raises(OptionError, match="public or secret"):
        deployed(merged_of(), matrix="open")
