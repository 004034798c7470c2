"""How a token is picked from logits, at the edges of what may be asked for."""

from __future__ import annotations

import pytest
import torch

from mpccompile.errors import OptionError
from mpccompile.generation.choices import Choices

LOGITS = torch.tensor([[1.0, 3.0, 2.0, -4.0], [90.0, -90.0, 0.0, 89.0]])


def drawn(count=8000, **choices):
    torch.manual_seed(0)
    chosen = Choices(do_sample=True, **choices)
    return torch.stack([chosen.pick(LOGITS) for _ in range(count)], 1)


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-45])
def test_a_small_temperature_takes_the_likeliest(temperature):
    assert torch.equal(drawn(20, temperature=temperature), LOGITS.argmax(-1, keepdim=True).expand(2, 20))


def test_a_large_temperature_draws_evenly():
    counts = drawn(4000, temperature=1e30)[0].bincount(minlength=4)
    assert (counts - 1000).abs().max() < 150


def test_a_temperature_divides_logits():
    share = (drawn(4000, temperature=2.0)[0] == 1).float().mean()
    torch.testing.assert_close(share, torch.softmax(LOGITS[0] / 2, -1)[1], atol=0.03, rtol=0)


@pytest.mark.parametrize(
    ("choices", "kept"),
    [({"top_k": 2}, {1, 2}), ({"top_k": 99}, {0, 1, 2, 3}), ({"top_p": 1e-9}, {1}), ({"top_p": 0.9}, {1, 2})],
)
def test_only_the_likeliest_are_drawn_from(choices, kept):
    assert set(drawn(**choices)[0].tolist()) == kept


def test_a_nucleus_of_all_leaves_out_none():
    # 0.1 % of the draws in the mean are the least likely token.
    assert set(drawn(top_p=1.0, temperature=1.5)[0].tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize("ends", [5, [5, 7], (5, 7), torch.tensor(5), torch.tensor([5, 7])])
def test_ends_may_be_written_as_in_transformers(ends):
    assert Choices(eos_token_id=ends).ends in {(5,), (5, 7)}


def test_a_choice_that_does_nothing_is_told():
    for choice in ({"temperature": 0.7}, {"top_k": 5}, {"top_p": 0.9}):
        with pytest.warns(UserWarning, match="do_sample=True"):
            Choices(**choice)


def test_a_number_is_no_switch():
    with pytest.raises(OptionError, match="max_new_tokens"):
        Choices(max_new_tokens=True)
