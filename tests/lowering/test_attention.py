"""Attention becomes products and a softmax; every way to write a mask becomes a bool one."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention as attend

from tests.lowering.programs import calls, lowered, run, seeded

LOWEST = torch.finfo(torch.float32).min
CAUSAL = torch.ones(3, 3).tril().bool()
KEEP = torch.tensor([[1, 1, 0], [1, 0, 0]])


def qkv(heads=2, shared=2):
    return seeded(2, heads, 3, 4), seeded(2, shared, 3, 4, seed=1), seeded(2, shared, 3, 4, seed=2)


def test_the_scale_is_on_the_query():
    assert calls(lowered(attend, *qkv())) == {"mul": 1, "permute": 1, "matmul": 2, "softmax": 1}
    assert calls(lowered(lambda q, k, v: attend(q, k, v, scale=1.0), *qkv())).get("mul") is None


def test_a_causal_mask_is_a_constant():
    program = lowered(lambda q, k, v: attend(q, k, v, is_causal=True), *qkv())
    (softmax,) = [node for node in program.graph.nodes if getattr(node.target, "__name__", "") == "softmax"]
    assert torch.equal(getattr(program.module, softmax.args[1].target), CAUSAL)


def test_a_mask_that_keeps_everything_goes():
    program = lowered(lambda q, k, v: attend(q, k, v, torch.ones(3, 3).bool()), *qkv())
    assert all(len(node.args) == 1 for node in program.graph.nodes if getattr(node.target, "__name__", "") == "softmax")


def test_shared_heads_are_expanded():
    program = lowered(lambda q, k, v: attend(q, k, v, enable_gqa=True), *qkv(heads=4))
    assert calls(program)["expand"] == 2


@pytest.mark.parametrize("least", [-1e4, LOWEST, -math.inf])
@pytest.mark.parametrize(
    "masked",
    [
        lambda s, keep, least: s + torch.where(keep, 0.0, least),
        lambda s, keep, least: torch.where(keep, s, least),
        lambda s, keep, least: torch.where(~keep, torch.tensor(least), s),
        lambda s, keep, least: s.masked_fill(~keep, least),
        lambda s, keep, least: torch.where(keep, s, least) * 2.0,
        lambda s, keep, least: torch.where(keep, s.view(6, 3).view(2, 3, 3), least).view(1, 2, 3, 3).view(2, 3, 3),
        lambda s, keep, least: (s + torch.where(keep, 0.5, least)).transpose(0, 1).transpose(0, 1),
        lambda s, keep, least: torch.where(keep, s, least)[:, 1:] * 1.0,
    ],
    ids=["add", "where", "where not", "masked_fill", "scaled", "reshaped", "permuted", "sliced"],
)
def test_every_way_to_mask_scores(masked, least):
    keep = torch.stack([CAUSAL, CAUSAL])
    program = lowered(lambda s: masked(s, keep, least).softmax(-1), seeded(2, 3, 3))
    (softmax,) = [node for node in program.graph.nodes if getattr(node.target, "__name__", "") == "softmax"]
    assert softmax.args[1].meta["val"].dtype == torch.bool
    assert "where" not in calls(program)


@pytest.mark.parametrize(
    "masked",
    [
        lambda s, m: s + (1.0 - m[:, None, :]) * -10000.0,
        lambda s, m: s + (1.0 - m[:, None, :].float()) * LOWEST,
        lambda s, m: s.masked_fill(m[:, None, :] == 0, -math.inf),
        lambda s, m: torch.where(m[:, None, :].bool(), s, LOWEST),
    ],
)
def test_a_mask_given_at_run_time_is_used(masked):
    def function(x, y):
        return masked(x, y).softmax(-1)

    program = lowered(function, seeded(2, 3, 3), KEEP, public="y")
    other = torch.tensor([[0, 1, 1], [1, 1, 1]])
    assert torch.allclose(run(program, x=seeded(2, 3, 3), y=other)[0], function(seeded(2, 3, 3), other), atol=1e-6)


def test_a_float_mask_given_at_run_time_keeps_its_finite_part():
    program = lowered(lambda x, y: (x + y).softmax(-1), seeded(3, 3), seeded(3, 3), public="y")
    mask = torch.tensor([[0.5, -math.inf, 1.0], [0.0, 0.0, LOWEST], [0.0, -2.0, 0.0]])
    expected = (seeded(3, 3) + mask).softmax(-1)
    assert torch.allclose(run(program, x=seeded(3, 3), y=mask)[0], expected, atol=1e-6)


def test_a_secret_bias_is_added_and_its_mask_is_public():
    def function(x, bias):
        return (x + torch.where(CAUSAL, bias, -math.inf)).softmax(-1)

    program = lowered(function, seeded(2, 3, 3), bias=seeded(3, 3, seed=1))
    assert calls(program) == {"add": 1, "softmax": 1}


@pytest.mark.parametrize("least", [-1e4, LOWEST])
def test_a_row_with_nothing_to_keep_is_what_torch_makes_of_it(least):
    keep = torch.tensor([[True, False, True], [False, False, False]])
    lowered(lambda x: torch.where(keep, x, least).softmax(-1), seeded(2, 3))


def test_a_softmax_over_another_dim_is_moved():
    assert calls(lowered(lambda x: x.softmax(1), seeded(2, 3, 4))) == {"permute": 2, "softmax": 1}
    lowered(lambda x: torch.where(CAUSAL, x, -math.inf).softmax(0), seeded(3, 3) + 0 * seeded(3, 3))
