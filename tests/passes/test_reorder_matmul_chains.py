"""Products of three matrices are computed in the cheaper order."""

from __future__ import annotations

import pytest

from mpccompile.ir import ops
from mpccompile.ir.cost import total_cost
from mpccompile.ir.rewrite import shape_of
from mpccompile.passes.reorder_matmul_chains import reorder_matmul_chains
from tests.passes.build import Builder, applied, calls, family, log_of, unchanged, values


def matrices(b, *shapes):
    return [b.input(name, values(*shape)) for name, shape in zip("abc", shapes, strict=False)]


def cheaper(program):
    result = applied(reorder_matmul_chains, program)
    assert log_of(result).changes == 1
    assert total_cost(result).bytes_sent < total_cost(program).bytes_sent
    return result


def test_the_right_product_comes_first_where_the_left_is_large():
    b = Builder()
    x, y, z = matrices(b, (2, 30, 4), (2, 4, 30), (2, 30, 3))
    result = cheaper(b.program(b.call(ops.matmul, b.call(ops.matmul, x, y), z)))
    assert [shape_of(node) for node in result.graph.nodes if node.target is ops.matmul] == [(2, 4, 3), (2, 30, 3)]


def test_the_left_product_comes_first_where_the_right_is_large():
    b = Builder()
    x, y, z = matrices(b, (3, 30), (30, 4), (4, 30))
    result = cheaper(b.program(b.call(ops.matmul, x, b.call(ops.matmul, y, z))))
    assert [shape_of(node) for node in result.graph.nodes if node.target is ops.matmul] == [(3, 4), (3, 30)]


@pytest.mark.parametrize("bias", [False, True])
def test_a_linear_comes_before_a_product_with_many_rows(bias):
    b = Builder()
    p, v = matrices(b, (2, 30, 4), (2, 4, 8))
    weights = [b.weight("w", 8, 8)] + [b.weight("bias", 8)] * bias
    result = cheaper(b.program(b.call(ops.linear, b.call(ops.matmul, p, v), *weights)))
    assert calls(result) == {"linear": 1, "matmul": 1} | ({"add": 1} if bias else {})


def test_an_order_that_is_cheap_stays():
    b = Builder()
    x, y, z = matrices(b, (3, 30), (30, 4), (4, 30))
    log = unchanged(reorder_matmul_chains, b.program(b.call(ops.matmul, b.call(ops.matmul, x, y), z)))
    assert "the other order sends" in log.skipped[0]


def test_a_product_that_others_read_stays():
    b = Builder()
    x, y, z = matrices(b, (30, 4), (4, 30), (30, 3))
    xy = b.call(ops.matmul, x, y)
    unchanged(reorder_matmul_chains, b.program(b.call(ops.matmul, xy, z), b.call(ops.gelu, xy)))


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "t5"])
def test_attention_is_left_alone(name):
    unchanged(reorder_matmul_chains, family(name))
