"""What depends on weights only becomes a weight."""

from __future__ import annotations

import torch

from mpccompile.ir import ops
from mpccompile.ir.rewrite import shape_of
from mpccompile.passes.fold_constant_arithmetic import fold_constant_arithmetic
from tests.passes.build import Builder, applied, calls, family, unchanged, values


def test_bert_adds_one_weight_to_its_words():
    program = family("bert")
    result = applied(fold_constant_arithmetic, program)
    assert calls(program)["embedding"] == 3
    assert calls(result)["embedding"] == 1
    assert calls(result)["add"] == calls(program)["add"] - 1
    assert any(name.startswith("folded_") for name in result.secret_attributes)
    # Its rows are the same for the whole batch, so they are stored once.
    assert all(data.shape[0] == 1 for name, data in result.module.named_buffers() if name.startswith("folded_"))


def test_t5_stores_its_position_bias():
    program = family("t5")
    assert calls(program)["embedding"] == 4
    assert calls(applied(fold_constant_arithmetic, program))["embedding"] == 2


def test_norms_and_linears_of_weights_are_computed():
    b = Builder()
    token = b.call(ops.layer_norm, b.weight("token", 1, 3, 4), b.weight("gamma", 4), b.weight("beta", 4), 1e-5)
    key = b.call(ops.linear, token, b.weight("w", 4, 4), b.weight("b", 4))
    program = b.program(b.call(ops.matmul, b.input("x", values(2, 3, 4)), b.call(ops.permute, key, (0, 2, 1))))
    result = applied(fold_constant_arithmetic, program)
    assert calls(result) == {"matmul": 1}
    assert len(result.secret_attributes) == 1


def test_a_repeated_weight_is_stored_once():
    b = Builder()
    token = b.call(ops.expand, b.call(ops.mul, b.weight("token", 1, 3, 4), 0.5), (8, 3, 4))
    result = applied(fold_constant_arithmetic, b.program(b.call(ops.mul, b.input("x", values(8, 3, 4)), token)))
    assert calls(result) == {"expand": 1, "mul": 1}
    (weight,) = [node for node in result.graph.nodes if node.op == "get_attr"]
    assert shape_of(weight) == (1, 3, 4)


def test_sums_are_regrouped():
    b = Builder()
    x = b.input("x", values(2, 4))
    total = b.call(ops.add, b.weight("d", 4), b.call(ops.add, x, b.weight("c", 4)))
    assert calls(applied(fold_constant_arithmetic, b.program(total))) == {"add": 1}


def test_a_view_of_a_weight_read_elsewhere_stays():
    b = Builder()
    table = b.weight("table", 4, 4)
    x = b.call(ops.embedding, b.input("ids", torch.tensor([1, 2])), table)
    program = b.program(b.call(ops.matmul, x, b.call(ops.permute, table, (1, 0))))
    assert "table is used as it is too" in unchanged(fold_constant_arithmetic, program).skipped[0]


def test_what_an_input_changes_stays():
    b = Builder()
    x = b.input("x", values(2, 4))
    unchanged(fold_constant_arithmetic, b.program(b.call(ops.linear, x, b.weight("w", 3, 4))))


def test_a_sum_that_others_read_is_not_regrouped():
    b = Builder()
    inner = b.call(ops.add, b.input("x", values(2, 4)), b.weight("c", 4))
    unchanged(fold_constant_arithmetic, b.program(b.call(ops.add, inner, b.weight("d", 4)), b.call(ops.gelu, inner)))
