"""Only the rows that are read are computed."""

from __future__ import annotations

import pytest
import torch

from mpccompile.ir import ops
from mpccompile.ir.cost import total_cost
from mpccompile.ir.program import Secrecy
from mpccompile.ir.rewrite import shape_of
from mpccompile.passes.hoist_takes import hoist_takes
from tests.passes.build import Builder, applied, calls, family, only, unchanged, values


@pytest.mark.parametrize("padding_mask", [False, True])
@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert"])
def test_a_classifier_computes_one_row_of_its_last_layer(name, padding_mask):
    program = family(name, "sdpa", padding_mask)
    result = applied(hoist_takes, program)
    last = [node for node in result.graph.nodes if node.target is ops.gelu][-1]
    assert shape_of(last)[1] == 1
    assert total_cost(result).bytes_sent < 0.75 * total_cost(program).bytes_sent
    scores = [shape_of(node) for node in result.graph.nodes if node.target is ops.softmax]
    assert scores == [(2, 2, 6, 6), (2, 2, 1, 6)]


def test_vit_too():
    result = applied(hoist_takes, family("vit"))
    assert [shape_of(node)[2] for node in result.graph.nodes if node.target is ops.softmax] == [5, 1]


@pytest.mark.parametrize("name", ["gpt2", "llama", "t5", "torch_encoder", "mlp", "cnn"])
def test_models_that_return_every_row_are_left_alone(name):
    unchanged(hoist_takes, family(name))


def row(b, node, dim=1):
    return b.call(ops.take, node, dim, 0, 1)


@pytest.mark.parametrize(
    "call",
    [
        lambda b, x: b.call(ops.gelu, x),
        lambda b, x: b.call(ops.linear, x, b.weight("w", 3, 4), b.weight("b", 3)),
        lambda b, x: b.call(ops.layer_norm, x, b.weight("w", 4), None, 1e-5),
        lambda b, x: b.call(ops.softmax, x),
        lambda b, x: b.call(ops.matmul, x, b.input("y", values(2, 4, 5))),
        lambda b, x: b.call(ops.add, x, b.weight("p", 6, 4)),
        lambda b, x: b.call(ops.add, x, b.weight("p", 4)),
        lambda b, x: b.call(ops.reshape, b.call(ops.reshape, x, (2, 6, 2, 2)), (2, 6, 4)),
        lambda b, x: b.call(ops.permute, b.call(ops.permute, x, (1, 2, 0)), (2, 0, 1)),
        lambda b, x: b.call(ops.concat, (x, x), 2),
        lambda b, x: b.call(ops.where, b.constant("keep", values(6, 4) > 0), x, 0.0),
        lambda b, x: b.call(ops.mul, x, b.input("factor", values(2, 6, 1), Secrecy.PUBLIC)),
    ],
)
def test_a_row_is_taken_before_an_operation(call):
    b = Builder()
    x = b.call(ops.tanh, b.input("x", values(2, 6, 4)))
    result = applied(hoist_takes, b.program(row(b, call(b, x))))
    assert shape_of(only(result, ops.tanh)) == (2, 1, 4)


def test_a_column_of_a_product_comes_from_the_right():
    b = Builder()
    x, y = (b.call(ops.tanh, b.input(name, values(4, 4))) for name in "xy")
    result = applied(hoist_takes, b.program(row(b, b.call(ops.matmul, x, y))))
    assert sorted(shape_of(node) for node in result.graph.nodes if node.target is ops.tanh) == [(4, 1), (4, 4)]


def test_a_step_is_kept():
    b = Builder()
    x = b.call(ops.tanh, b.input("x", values(2, 6, 4)))
    result = applied(hoist_takes, b.program(b.call(ops.take, x, 1, 1, 6, 2)))
    assert shape_of(only(result, ops.tanh)) == (2, 3, 4)


def test_a_public_mask_is_sliced_in_plaintext():
    b = Builder()
    mask = b.input("mask", torch.ones(2, 6, 4, dtype=torch.bool), Secrecy.PUBLIC)
    result = applied(hoist_takes, b.program(row(b, b.call(ops.softmax, b.input("x", values(2, 6, 4)), mask))))
    assert calls(result) == {"take": 1, "slice.Tensor": 1, "softmax": 1}


def test_equal_slices_by_several_readers_count_as_one():
    b = Builder()
    y = b.call(ops.gelu, b.input("x", values(2, 6, 4)))
    result = applied(hoist_takes, b.program(b.call(ops.tanh, row(b, y)), b.call(ops.relu, row(b, y, -2))))
    assert shape_of(only(result, ops.gelu)) == (2, 1, 4)


@pytest.mark.parametrize(
    "call",
    [
        lambda b, x: (row(b, x), b.call(ops.take, x, 1, 1, 2)),
        lambda b, x: (row(b, x), b.call(ops.relu, x)),
        lambda b, x: (row(b, b.call(ops.softmax, b.call(ops.relu, x)), 2),),
        lambda b, x: (row(b, b.call(ops.reshape, b.call(ops.relu, x), (12, 4)), 0),),
        lambda b, x: (row(b, b.call(ops.concat, (b.call(ops.relu, x), x), 1)),),
    ],
)
def test_what_needs_other_rows_stays(call):
    b = Builder()
    unchanged(hoist_takes, b.program(*call(b, b.call(ops.gelu, b.input("x", values(2, 6, 4))))))
