"""Linears of one input become one."""

from __future__ import annotations

import pytest
import torch

from mpccompile.ir import ops
from mpccompile.ir.rewrite import weight_data
from mpccompile.passes.merge_parallel_linears import joined_name, merge_parallel_linears
from tests.passes.build import Builder, applied, calls, family, log_of, only, unchanged, values


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [("bert", 14, 10), ("distilbert", 14, 10), ("vit", 13, 9), ("llama", 15, 9), ("qwen2", 15, 9), ("t5", 33, 22)],
)
def test_q_k_v_and_gate_up_merge(name, before, after):
    program = family(name)
    result = applied(merge_parallel_linears, program)
    assert calls(program)["linear"] == before
    assert calls(result)["linear"] == after


def test_t5_computes_cross_attention_keys_and_values_at_once():
    result = applied(merge_parallel_linears, family("t5"))
    sizes = [
        weight_data(result.module, node.args[1]).shape[0] for node in result.graph.nodes if node.target is ops.linear
    ]
    assert sizes.count(4 * 16) == 1


def test_gpt2_has_nothing_to_merge():
    unchanged(merge_parallel_linears, family("gpt2"))


def test_a_missing_bias_is_zero():
    b = Builder()
    x = b.input("x", values(2, 4))
    program = b.program(
        b.call(ops.linear, x, b.weight("w0", 3, 4)), b.call(ops.linear, x, b.weight("w1", 2, 4), b.weight("b1", 2))
    )
    result = applied(merge_parallel_linears, program)
    assert calls(result) == {"linear": 1, "take": 2}
    bias = weight_data(result.module, only(result, ops.linear).args[2])
    assert torch.equal(bias, torch.cat([torch.zeros(3), program.module.b1]))
    assert len(result.secret_attributes) == 2


def test_equal_inputs_that_are_different_nodes_stay_apart():
    b = Builder()
    x = b.input("x", values(2, 4))
    one, two = b.call(ops.neg, x), b.call(ops.neg, x)
    unchanged(
        merge_parallel_linears,
        b.program(b.call(ops.linear, one, b.weight("w0", 3, 4)), b.call(ops.linear, two, b.weight("w1", 3, 4))),
    )


def test_a_tied_weight_stays_apart():
    b = Builder()
    table = b.weight("table", 5, 4)
    x = b.call(ops.embedding, b.input("ids", torch.tensor([1, 2])), table)
    names = [b.weight("w0", 3, 4), b.weight("w1", 3, 4), table]
    result = applied(merge_parallel_linears, b.program(*(b.call(ops.linear, x, each) for each in names)))
    assert calls(result)["linear"] == 2
    assert "table is used elsewhere too" in log_of(result).skipped[0]


def test_merged_weights_are_named_after_their_parts():
    assert joined_name(["layer.0.query.weight", "layer.0.key.weight"]) == "layer_0_query_key_weight"
    assert joined_name(["a.k.weight", "b.c.v.weight"]) == "a.k.weight_and_1_more"
    assert joined_name(["a", "b", "c", "d"]) == "a_and_3_more"
