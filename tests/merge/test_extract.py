"""A teacher's average attention, position by position."""

from __future__ import annotations

import copy

import pytest
import torch

from mpccompile.errors import CaptureFailed, DataError
from mpccompile.merge.extract import averages
from tests import models
from tests.merge.small import ids


def test_attention_is_averaged_over_all_texts():
    teacher = models.gpt2()[0]
    texts = [ids(2), ids(3, seed=4)]
    found = averages(teacher, [{"input_ids": text} for text in texts])
    eager = copy.deepcopy(teacher)
    eager.set_attn_implementation("eager")
    with torch.no_grad():
        attentions = [eager(input_ids=text, output_attentions=True).attentions for text in texts]
    for layer in range(models.LAYERS):
        expected = torch.cat([attention[layer] for attention in attentions]).mean(0)
        torch.testing.assert_close(found.attention[layer][:, :12, :12], expected)
    assert teacher.config._attn_implementation == "sdpa"


def test_padding_counts_for_nothing():
    teacher, text = models.gpt2()[0], ids(2)
    mask = torch.ones_like(text)
    mask[1, 7:] = 0
    padded = averages(teacher, [{"input_ids": text, "attention_mask": mask}])
    cut = averages(teacher, [{"input_ids": text[:1]}, {"input_ids": text[1:, :7]}])
    for one, other in zip(padded.attention, cut.attention, strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(torch.tensor(padded.inverse_deviations), torch.tensor(cut.inverse_deviations))
    with pytest.raises(DataError, match="begins with padding"):
        averages(teacher, [{"input_ids": text, "attention_mask": mask.flip(1)}])


def test_rows_add_up_to_one_where_no_text_reaches_too():
    found = averages(models.gpt2()[0], [{"input_ids": ids(2, 5)}], length=9)
    for attention in found.attention:
        assert attention.shape == (models.HEADS, 9, 9)
        torch.testing.assert_close(attention.sum(-1), torch.ones(models.HEADS, 9))
        assert not bool(attention.triu(1).any())
        torch.testing.assert_close(attention[:, 8], torch.full((models.HEADS, 9), 1 / 9))


def test_deviations_are_those_of_what_the_norm_is_given():
    teacher, text = models.gpt2()[0], ids(2)
    found = averages(teacher, [{"input_ids": text}])
    places = torch.arange(text.shape[1])
    with torch.no_grad():
        given = teacher.transformer.wte(text) + teacher.transformer.wpe(places)
    expected = float((1 / given.std(-1, unbiased=False)).mean())
    assert found.inverse_deviations[0] == pytest.approx(expected, rel=1e-5)


def test_without_texts_there_is_no_average():
    with pytest.raises(DataError, match="no text"):
        averages(models.gpt2()[0], [])
    with pytest.raises(DataError, match="12 tokens"):
        averages(models.gpt2()[0], [{"input_ids": ids()}], length=8)


def test_an_unknown_family_is_refused():
    with pytest.raises(CaptureFailed, match="cannot be merged"):
        averages(models.bert()[0], [])
