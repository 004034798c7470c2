"""Some rows at a time give what the whole weight gives."""

from __future__ import annotations

import pytest
import torch

from mpccompile.ir import wide


@pytest.fixture(params=[1, 8, 2**20])
def weight(request, monkeypatch):
    monkeypatch.setattr(wide, "_AT_ONCE", request.param)
    return torch.randn(7, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(7, 1), (3,), ()])
def test_a_weight_is_scaled_and_left_as_it_was(weight, shape):
    factors, before = torch.rand(shape, dtype=torch.float64), weight.clone()
    result = wide.scaled(weight, factors)
    assert result.dtype == torch.float32
    assert torch.equal(result, (weight.double() * factors).float())
    assert torch.equal(weight, before)


def test_a_weight_turned_round_and_a_vector_are_scaled(weight):
    factors = torch.rand(7, dtype=torch.float64)
    assert torch.equal(wide.scaled(weight.T, factors), (weight.T.double() * factors).float())
    assert torch.equal(wide.scaled(weight[:, 0], factors), (weight[:, 0].double() * factors).float())


@pytest.mark.parametrize("shape", [(3,), (3, 5)])
def test_a_weight_is_multiplied(weight, shape):
    other = torch.rand(shape, dtype=torch.float64)
    torch.testing.assert_close(wide.product(weight, other), weight.double() @ other)
    assert wide.product(weight, other, torch.float32).dtype == torch.float32
