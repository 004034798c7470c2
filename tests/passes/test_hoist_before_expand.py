"""Operations come before broadcasts."""

from __future__ import annotations

import pytest
import torch

from mpccompile.ir import ops
from mpccompile.ir.cost import total_cost
from mpccompile.ir.program import Secrecy
from mpccompile.ir.rewrite import shape_of
from mpccompile.passes.hoist_before_expand import hoist_before_expand
from tests.passes.build import Builder, applied, calls, family, only, unchanged, values


def repeated(b, *narrow, to):
    return b.call(ops.expand, b.input("x", values(*narrow)), to)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("gelu", lambda b, x: b.call(ops.gelu, x, "none")),
        ("mul", lambda b, x: b.call(ops.mul, x, 0.5)),
        ("linear", lambda b, x: b.call(ops.linear, x, b.weight("w", 3, 4), b.weight("b", 3))),
        ("layer_norm", lambda b, x: b.call(ops.layer_norm, x, b.weight("w", 4), None, 1e-5)),
        ("softmax", lambda b, x: b.call(ops.softmax, x)),
    ],
)
def test_a_function_is_computed_once(name, call):
    b = Builder()
    program = b.program(call(b, repeated(b, 1, 6, 4, to=(8, 6, 4))))
    result = applied(hoist_before_expand, program)
    (node,) = [node for node in result.graph.nodes if getattr(node.target, "__name__", "") == name]
    assert shape_of(node)[0] == 1
    assert total_cost(result).bytes_sent <= total_cost(program).bytes_sent


def test_chains_of_functions_all_move():
    b = Builder()
    y = b.call(ops.gelu, repeated(b, 1, 6, 4, to=(8, 6, 4)))
    result = applied(hoist_before_expand, b.program(b.call(ops.linear, y, b.weight("w", 3, 4))))
    assert shape_of(only(result, ops.linear)) == (1, 6, 3)


def test_an_operand_with_fewer_dims_moves_too():
    b = Builder()
    program = b.program(b.call(ops.linear, repeated(b, 4, to=(8, 6, 4)), b.weight("w", 3, 4)))
    assert shape_of(only(applied(hoist_before_expand, program), ops.linear)) == (3,)


@pytest.mark.parametrize("target", [ops.add, ops.sub, ops.mul])
def test_arithmetic_broadcasts_by_itself(target):
    b = Builder()
    wide = repeated(b, 1, 1, 4, to=(8, 6, 4))
    assert "expand" not in calls(
        applied(hoist_before_expand, b.program(b.call(target, b.input("y", values(8, 6, 4)), wide)))
    )


def test_a_matmul_repeats_its_batch_by_itself():
    b = Builder()
    wide = repeated(b, 1, 4, 5, to=(8, 4, 5))
    program = b.program(b.call(ops.matmul, b.input("y", values(8, 3, 4)), wide))
    assert "expand" not in calls(applied(hoist_before_expand, program))


def test_t5_adds_its_bias_without_repeating_it():
    program = family("t5")
    result = applied(hoist_before_expand, program)
    assert calls(program)["expand"] == 2
    assert "expand" not in calls(result)


def test_only_one_of_two_expands_that_give_the_shape_goes():
    b = Builder()
    x, y = b.input("x", values(1, 4)), b.input("y", values(1, 4, seed=1))
    wide = [b.call(ops.expand, each, (8, 4)) for each in (x, y)]
    result = applied(hoist_before_expand, b.program(b.call(ops.mul, *wide)))
    assert calls(result)["expand"] == 1


def test_a_repeated_row_stays():
    b = Builder()
    program = b.program(b.call(ops.linear, repeated(b, 2, 6, 1, to=(2, 6, 4)), b.weight("w", 3, 4)))
    assert "rows themselves" in unchanged(hoist_before_expand, program).skipped[0]


def test_a_softmax_under_a_mask_stays():
    b = Builder()
    mask = b.input("mask", torch.ones(8, 6, 4, dtype=torch.bool), Secrecy.PUBLIC)
    program = b.program(b.call(ops.softmax, repeated(b, 1, 6, 4, to=(8, 6, 4)), mask))
    assert "mask" in unchanged(hoist_before_expand, program).skipped[0]


def test_matrices_that_are_repeated_themselves_stay():
    b = Builder()
    wide = repeated(b, 1, 5, to=(4, 5))
    unchanged(hoist_before_expand, b.program(b.call(ops.matmul, b.input("y", values(3, 4)), wide)))
