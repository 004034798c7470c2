"""Models that know nothing, of the same architecture."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mpccompile.distill.fresh import with_random_weights
from tests import models


class Tokens(nn.Module):
    """A module with weights that nobody draws for it."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.token = nn.Parameter(torch.full((1, 1, 400), 7.0))
        self.scale = nn.Parameter(torch.full((4,), 7.0))
        self.bias = nn.Parameter(torch.full((4,), 7.0))

    def forward(self, x):
        return self.inner(x) * self.scale + self.bias + self.token.mean()


@pytest.mark.parametrize("family", ["bert", "vit", "gpt2"])
def test_a_transformers_model_is_made_anew(family):
    model = models.FAMILIES[family]()[0]
    before = copy.deepcopy(model.state_dict())
    fresh = with_random_weights(model, 1)
    assert fresh.state_dict().keys() == before.keys()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    for name, weight in fresh.named_parameters():
        if weight.dim() > 1:
            assert not torch.equal(weight, before[name])
            assert weight.std() < 0.1, name
    assert not fresh.training


def test_every_module_draws_its_own_weights():
    model = Tokens()
    fresh = with_random_weights(model, 1)
    assert torch.equal(model.token, torch.full((1, 1, 400), 7.0))
    assert not torch.equal(fresh.inner.weight, model.inner.weight)
    assert fresh.token.std().item() == pytest.approx(0.02, rel=0.2)
    assert fresh.scale.tolist() == [1.0] * 4
    assert fresh.bias.tolist() == [0.0] * 4


def test_a_seed_is_a_model():
    first, second, other = (with_random_weights(Tokens(), seed) for seed in (1, 1, 2))
    assert torch.equal(first.inner.weight, second.inner.weight)
    assert not torch.equal(first.inner.weight, other.inner.weight)


def test_the_callers_random_numbers_stay():
    model = Tokens()
    state = torch.get_rng_state()
    with_random_weights(model, 1)
    assert torch.equal(torch.get_rng_state(), state)
