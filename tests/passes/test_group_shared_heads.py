"""Query heads that share a key head are multiplied together."""

from __future__ import annotations

import pytest

from mpccompile.ir import ops
from mpccompile.ir.cost import total_cost
from mpccompile.passes.group_shared_heads import group_shared_heads
from tests.passes.build import Builder, applied, calls, family, log_of, unchanged, values


@pytest.mark.parametrize("attn_implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_key_and_value_heads_are_not_repeated(name, attn_implementation):
    program = family(name, attn_implementation)
    result = applied(group_shared_heads, program)
    assert calls(program)["expand"] - calls(result).get("expand", 0) == 4
    assert calls(result)["matmul"] == calls(program)["matmul"]
    assert total_cost(result).bytes_sent < total_cost(program).bytes_sent


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5"])
def test_models_without_shared_heads_are_left_alone(name):
    unchanged(group_shared_heads, family(name))


def heads(b, copies=3):
    narrow = b.input("k", values(2, 2, 1, 6, 4))
    wide = b.call(ops.expand, narrow, (2, 2, copies, 6, 4))
    return b.call(ops.reshape, wide, (2, 2 * copies, 6, 4))


def test_rows_and_columns_may_be_exchanged():
    b = Builder()
    turned = b.call(ops.permute, heads(b), (0, 1, 3, 2))
    result = applied(group_shared_heads, b.program(b.call(ops.matmul, b.input("q", values(2, 6, 5, 4)), turned)))
    assert "expand" not in calls(result)


def test_queries_that_broadcast_stay():
    b = Builder()
    program = b.program(b.call(ops.matmul, b.input("q", values(2, 1, 5, 6)), heads(b)))
    assert "head for each copy" in unchanged(group_shared_heads, program).skipped[0]


def test_other_orders_of_dims_stay():
    b = Builder()
    turned = b.call(ops.permute, heads(b), (1, 0, 3, 2))
    program = b.program(b.call(ops.matmul, b.input("q", values(6, 2, 5, 4)), turned))
    assert not log_of(group_shared_heads(program)).changes


def test_heads_repeated_the_other_way_round_stay():
    b = Builder()
    wide = b.call(ops.expand, b.input("k", values(2, 1, 2, 6, 4)), (2, 3, 2, 6, 4))
    repeated = b.call(ops.reshape, wide, (2, 6, 6, 4))
    unchanged(group_shared_heads, b.program(b.call(ops.matmul, b.input("q", values(2, 6, 5, 6)), repeated)))
