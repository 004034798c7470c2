"""Multiplications by a number move into weights."""

from __future__ import annotations

import pytest
import torch

from mpccompile.ir import ops
from mpccompile.ir.rewrite import weight_data
from mpccompile.passes.fold_scales import fold_scales
from tests.passes.build import Builder, applied, calls, family, log_of, only, unchanged, values


@pytest.mark.parametrize("attn_implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "gpt2", "llama", "qwen2", "vit"])
def test_attention_loses_its_scale(name, attn_implementation):
    program = family(name, attn_implementation)
    result = applied(fold_scales, program)
    numbers = [node for node in result.graph.nodes if node.target is ops.mul and isinstance(node.args[1], float)]
    assert not numbers
    assert calls(result).get("mul", 0) == calls(program)["mul"] - 2
    assert not log_of(result).skipped


def test_t5_scales_its_decoder_output_in_the_norm():
    program = family("t5")
    result = applied(fold_scales, program)
    assert "mul" in calls(program)
    assert "mul" not in calls(result)


def test_the_scale_goes_into_weight_and_bias():
    b = Builder()
    x = b.input("x", values(2, 4))
    y = b.call(ops.linear, x, b.weight("w", 3, 4), b.weight("b", 3))
    program = b.program(b.call(ops.mul, y, 0.5))
    result = applied(fold_scales, program)
    assert calls(result) == {"linear": 1}
    linear = only(result, ops.linear)
    assert torch.equal(weight_data(result.module, linear.args[1]), program.module.w * 0.5)
    assert torch.equal(weight_data(result.module, linear.args[2]), program.module.b * 0.5)
    assert len(result.secret_attributes) == 2


def test_a_single_number_is_scaled_as_it_is():
    b = Builder()
    unchanged(fold_scales, b.program(b.call(ops.mul, b.input("x", torch.tensor(3.0)), 2.0)))


def test_only_the_channels_that_are_scaled_change():
    b = Builder()
    x = b.input("x", values(2, 6, 4))
    y = b.call(ops.linear, x, b.weight("w", 12, 4))
    q, k = b.call(ops.take, y, 2, 0, 6), b.call(ops.take, y, 2, 6, 12)
    program = b.program(b.call(ops.matmul, b.call(ops.mul, q, 0.25), b.call(ops.permute, k, (0, 2, 1))))
    result = applied(fold_scales, program)
    assert "mul" not in calls(result)
    weight = weight_data(result.module, only(result, ops.linear).args[1])
    assert torch.equal(weight[6:], program.module.w[6:])


def test_scores_are_scaled_through_one_side_of_the_product():
    b = Builder()
    x = b.input("x", values(2, 6, 4))
    q, k = b.call(ops.linear, x, b.weight("wq", 4, 4)), b.call(ops.linear, x, b.weight("wk", 4, 4))
    scores = b.call(ops.matmul, q, b.call(ops.permute, k, (0, 2, 1)))
    result = applied(fold_scales, b.program(b.call(ops.mul, scores, 0.25)))
    assert calls(result) == {"linear": 2, "permute": 1, "matmul": 1}


def test_a_blocked_query_gives_its_scale_to_the_key():
    b = Builder()
    x, q = b.input("x", values(2, 6, 4)), b.input("q", values(2, 6, 4))
    k = b.call(ops.linear, x, b.weight("wk", 4, 4))
    scores = b.call(ops.matmul, b.call(ops.mul, q, 0.25), b.call(ops.permute, k, (0, 2, 1)))
    assert "mul" not in calls(applied(fold_scales, b.program(scores)))


def test_a_scale_passes_rotary_embeddings():
    b = Builder()
    x = b.input("x", values(2, 6, 4))
    q = b.call(ops.linear, x, b.weight("wq", 4, 4))
    cos, sin = b.constant("cos", values(6, 4, seed=1)), b.constant("sin", values(6, 4, seed=2))
    low, high = b.call(ops.take, q, 2, 0, 2), b.call(ops.take, q, 2, 2, 4)
    turned = b.call(ops.concat, (b.call(ops.neg, high), low), 2)
    rotary = b.call(ops.add, b.call(ops.mul, q, cos), b.call(ops.mul, turned, sin))
    result = applied(fold_scales, b.program(b.call(ops.mul, rotary, 0.5)))
    assert calls(result)["mul"] == 2


def test_a_scale_in_front_of_linears_goes_down():
    b = Builder()
    x = b.call(ops.mul, b.input("x", values(2, 4)), 0.5)
    outputs = [b.call(ops.linear, x, b.weight(f"w{i}", 3, 4), b.weight(f"b{i}", 3)) for i in range(2)]
    result = applied(fold_scales, b.program(*outputs))
    assert calls(result) == {"linear": 2}
    assert weight_data(result.module, result.graph.output_node().args[0][0].args[2]).equal(values(3, seed=2))


def test_the_table_takes_the_scale_of_an_embedding():
    b = Builder()
    ids = b.input("ids", torch.tensor([[1, 2, 0]]))
    rows = b.call(ops.embedding, ids, b.weight("table", 5, 4))
    assert calls(applied(fold_scales, b.program(b.call(ops.mul, rows, 2.0)))) == {"embedding": 1}


def test_a_public_constant_of_one_element_is_a_number():
    b = Builder()
    y = b.call(ops.linear, b.input("x", values(2, 4)), b.weight("w", 3, 4))
    program = b.program(b.call(ops.mul, y, b.constant("c", torch.tensor([0.5]))))
    assert calls(applied(fold_scales, program)) == {"linear": 1}


def test_all_readers_with_the_same_scale_go_together():
    b = Builder()
    y = b.call(ops.linear, b.input("x", values(2, 4)), b.weight("w", 3, 4))
    one, two = b.call(ops.mul, y, 0.5), b.call(ops.mul, y, 0.5)
    assert calls(applied(fold_scales, b.program(one, b.call(ops.gelu, two)))) == {"linear": 1, "gelu": 1}


def test_a_second_reader_keeps_the_scale():
    b = Builder()
    y = b.call(ops.linear, b.input("x", values(2, 4)), b.weight("w", 3, 4))
    log = unchanged(fold_scales, b.program(b.call(ops.mul, y, 0.5), b.call(ops.gelu, y)))
    assert "gelu" in log.skipped[0]


def test_a_tied_table_keeps_its_weights():
    b = Builder()
    table = b.weight("table", 5, 4)
    rows = b.call(ops.embedding, b.input("ids", torch.tensor([1, 2])), table)
    program = b.program(b.call(ops.linear, b.call(ops.gelu, b.call(ops.mul, rows, 2.0)), table))
    assert "table is used elsewhere too" in unchanged(fold_scales, program).skipped[0]


def test_a_function_that_is_not_linear_stops_a_scale():
    b = Builder()
    y = b.call(ops.linear, b.input("x", values(2, 4)), b.weight("w", 3, 4))
    log = unchanged(fold_scales, b.program(b.call(ops.mul, b.call(ops.gelu, y), 0.5)))
    assert "no linear function" in log.skipped[0]


def test_both_sides_of_a_product_are_not_scaled():
    b = Builder()
    y = b.call(ops.linear, b.input("x", values(3, 3)), b.weight("w", 3, 3))
    unchanged(fold_scales, b.program(b.call(ops.mul, b.call(ops.matmul, y, y), 0.5)))


def test_a_factor_that_differs_by_element_is_no_scale():
    b = Builder()
    y = b.call(ops.linear, b.input("x", values(2, 4)), b.weight("w", 3, 4))
    assert not unchanged(fold_scales, b.program(b.call(ops.mul, y, b.constant("c", values(3))))).skipped
