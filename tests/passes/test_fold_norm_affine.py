"""Scales and shifts of norms move into linears."""

from __future__ import annotations

import pytest
import torch

from mpccompile.ir import ops
from mpccompile.ir.cost import total_cost
from mpccompile.ir.rewrite import arguments
from mpccompile.passes.fold_norm_affine import fold_norm_affine
from tests.passes.build import Builder, applied, calls, family, log_of, only, unchanged, values

NORMS = (ops.layer_norm, ops.rms_norm)


def with_weight(program):
    norms = [node for node in program.graph.nodes if node.target in NORMS]
    return len([node for node in norms if arguments(node)["weight"] is not None])


@pytest.mark.parametrize(
    ("name", "before", "after"), [("vit", 5, 0), ("llama", 5, 0), ("qwen2", 5, 0), ("gpt2", 5, 1), ("t5", 12, 1)]
)
def test_norms_in_front_of_linears_lose_their_scale(name, before, after):
    program = family(name)
    result = applied(fold_norm_affine, program)
    assert with_weight(program) == before
    assert with_weight(result) == after
    assert calls(result).get("mul", 0) == calls(program).get("mul", 0)
    assert total_cost(result).bytes_sent < total_cost(program).bytes_sent


def test_a_tied_head_keeps_the_scale_in_the_norm():
    result = applied(fold_norm_affine, family("gpt2"))
    assert "lm_head.weight is used elsewhere too" in log_of(result).skipped[0]


@pytest.mark.parametrize("name", ["bert", "distilbert", "torch_encoder"])
def test_the_residual_of_a_post_norm_layer_keeps_the_scale(name):
    result = fold_norm_affine(family(name))
    # Only the last norm of a classifier is read by a linear and by nothing else.
    assert log_of(result).changes == (0 if name == "torch_encoder" else 3)
    assert "reads it and is no linear" in log_of(result).skipped[0]


def norm_of(b, weight=True, bias=True):
    x = b.input("x", values(2, 6, 4))
    gamma = b.weight("gamma", 4) if weight else None
    return b.call(ops.layer_norm, x, gamma, b.weight("beta", 4) if bias else None, 1e-5)


def test_a_linear_without_bias_gets_one():
    b = Builder()
    result = applied(fold_norm_affine, b.program(b.call(ops.linear, norm_of(b), b.weight("w", 3, 4))))
    assert arguments(only(result, ops.linear))["bias"] is not None
    assert arguments(only(result, ops.layer_norm))["weight"] is None
    assert arguments(only(result, ops.layer_norm))["bias"] is None


def test_an_rms_norm_adds_no_bias():
    b = Builder()
    norm = b.call(ops.rms_norm, b.input("x", values(2, 6, 4)), b.weight("gamma", 4), 1e-6)
    result = applied(fold_norm_affine, b.program(b.call(ops.linear, norm, b.weight("w", 3, 4))))
    assert arguments(only(result, ops.linear))["bias"] is None


def test_channels_are_followed_through_views():
    b = Builder()
    norm = norm_of(b)
    halves = b.call(ops.reshape, b.call(ops.permute, norm, (1, 0, 2)), (6, 1, 8))
    result = applied(fold_norm_affine, b.program(b.call(ops.linear, halves, b.weight("w", 3, 8))))
    assert with_weight(result) == 0


def test_channels_spread_over_rows_stay():
    b = Builder()
    turned = b.call(ops.permute, norm_of(b), (0, 2, 1))
    log = unchanged(fold_norm_affine, b.program(b.call(ops.linear, turned, b.weight("w", 3, 6))))
    assert "spread over several dims" in log.skipped[0]


def test_a_norm_that_is_the_output_keeps_its_scale():
    b = Builder()
    assert "output reads it" in unchanged(fold_norm_affine, b.program(norm_of(b))).skipped[0]


def test_a_norm_that_is_also_the_output_keeps_its_scale():
    b = Builder()
    norm = norm_of(b)
    unchanged(fold_norm_affine, b.program(norm, b.call(ops.linear, norm, b.weight("w", 3, 4))))


def test_a_linear_that_multiplies_by_the_norm_is_no_reader():
    b = Builder()
    norm = norm_of(b)
    rows = b.call(ops.reshape, norm, (12, 4))
    unchanged(fold_norm_affine, b.program(b.call(ops.matmul, b.weight("w", 3, 12), rows)))


def test_nothing_is_lost_without_a_scale():
    b = Builder()
    program = b.program(b.call(ops.linear, norm_of(b, weight=False, bias=False), b.weight("w", 3, 4)))
    assert not unchanged(fold_norm_affine, program).skipped


def test_a_zero_scale_is_exact():
    b = Builder()
    gamma = b.weight("gamma", data=torch.tensor([0.0, 1.0, -2.0, 0.5]))
    norm = b.call(ops.layer_norm, b.input("x", values(2, 6, 4)), gamma, None, 1e-5)
    applied(fold_norm_affine, b.program(b.call(ops.linear, norm, b.weight("w", 3, 4), b.weight("b", 3))))
