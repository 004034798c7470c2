"""Texts that go on from hidden states, against a loop written out without any cache."""

from __future__ import annotations

import pytest
import torch

from mpccompile.merge.reuse import NextHidden, StartText, TellTokens, continued, hidden_after, scale_to_embeddings
from tests import models
from tests.merge.small import ids, merged_of

NEW = 5


def written_out(model, text, new_tokens, scale=1.0):
    """Embed the prompt, append the last hidden state again and again, and apply the head at the end."""
    embedded = model.get_input_embeddings()(text)
    with torch.no_grad():
        for _ in range(new_tokens):
            hidden = model.base_model(inputs_embeds=embedded, use_cache=False).last_hidden_state
            embedded = torch.cat([embedded, scale * hidden[:, -1:]], 1)
        logits = model.get_output_embeddings()(hidden)
    return hidden, torch.cat([text, logits[:, text.shape[1] - 1 :].argmax(-1)], 1)


@pytest.mark.parametrize(
    ("family", "form"),
    [("gpt2", None), ("llama", None), ("gpt2", "residual"), ("gpt2", "mix-first"), ("llama", "residual")],
)
def test_reuse_is_the_loop_that_is_written_out(family, form):
    model = models.FAMILIES[family]()[0] if form is None else merged_of(family, form)
    text = ids(2, 5)
    hidden, expected = written_out(model, text, NEW)
    torch.testing.assert_close(hidden_after(model, text, NEW), hidden, atol=1e-4, rtol=1e-4)
    assert torch.equal(continued(model, text, NEW), expected)
    assert expected.shape == (2, 5 + NEW)


def test_hidden_states_are_as_long_as_embeddings_where_the_config_says_so():
    model, text = models.gpt2()[0], ids(2, 5)
    before = hidden_after(model, text, NEW)
    scale = scale_to_embeddings(model, [text, ids(3, 7)])
    with torch.no_grad():
        lengths = [
            sum(float(part(each).norm(dim=-1).sum()) for each in (text, ids(3, 7)))
            for part in (model.get_input_embeddings(), lambda each: model.base_model(each).last_hidden_state)
        ]
    assert scale == model.config.reuse_scale == pytest.approx(lengths[0] / lengths[1], rel=1e-4)
    hidden, expected = written_out(model, text, NEW, scale)
    torch.testing.assert_close(hidden_after(model, text, NEW), hidden, atol=1e-4, rtol=1e-4)
    assert torch.equal(continued(model, text, NEW), expected)
    assert not torch.allclose(hidden, before)


def test_one_new_token_is_the_plain_models():
    model, text = models.gpt2()[0], ids(2, 5)
    with torch.no_grad():
        plain = model(input_ids=text).logits[:, -1].argmax(-1)
    assert torch.equal(continued(model, text, 1)[:, -1], plain)


def test_a_cache_with_room_gives_what_a_full_one_does():
    model, text = models.gpt2()[0], ids(2, 5)
    with torch.no_grad():
        held = StartText(model)(text)
        places, mask = torch.full((2, 1), 5), torch.tensor([[1] * 5 + [0] * 3 + [1]] * 2)
        exact = NextHidden(model)(position_ids=places, **held)
        roomy = {name: torch.nn.functional.pad(rows, (0, 0, 0, 3), value=7.0) for name, rows in held.items()}
        found = NextHidden(model)(position_ids=places, attention_mask=mask, **roomy)
    assert found.keys() == held.keys()
    for name, rows in found.items():
        torch.testing.assert_close(rows, exact[name], atol=1e-5, rtol=1e-4)


def test_constant_attention_leaves_one_kind_of_row():
    with torch.no_grad():
        assert set(StartText(merged_of())(ids(1, 5))) == {"hidden", "value_0", "value_1"}
        assert set(StartText(models.gpt2()[0])(ids(1, 5))) == {"hidden", "key_0", "value_0", "key_1", "value_1"}


def test_the_head_reads_the_positions_that_are_asked_for():
    model, hidden = models.gpt2()[0], torch.randn(2, 8, models.HIDDEN)
    with torch.no_grad():
        logits = TellTokens(model)(hidden, torch.tensor([[2, 5]]))
        torch.testing.assert_close(logits, model.lm_head(hidden[:, [2, 5]]))
