"""Independent rounds stand together, and the longest chain of rounds is known."""

from __future__ import annotations

import pytest

from mpccompile.ir import ops
from mpccompile.ir.cost import total_cost
from mpccompile.passes.merge_parallel_linears import merge_parallel_linears
from mpccompile.passes.schedule_rounds import critical_path, dependencies, schedule_rounds
from tests.passes.build import Builder, applied, calls, family, values


def test_independent_calls_become_neighbours():
    b = Builder()
    x = b.input("x", values(2, 4))
    left = b.call(ops.gelu, b.call(ops.linear, x, b.weight("w1", 4, 4)))
    right = b.call(ops.gelu, b.call(ops.linear, x, b.weight("w2", 4, 4)))
    result = applied(schedule_rounds, b.program(b.call(ops.mul, left, right)))
    names = [node.target.__name__ for node in result.graph.nodes if node.op == "call_function"]
    assert names == ["linear", "linear", "gelu", "gelu", "mul"]


@pytest.mark.parametrize("name", ["bert", "t5", "llama", "cnn"])
def test_real_models_keep_their_calls_and_cost(name):
    program = family(name)
    result = applied(schedule_rounds, program)
    assert calls(result) == calls(program)
    assert total_cost(result).rounds == total_cost(program).rounds
    kinds = [node.op for node in result.graph.nodes]
    assert kinds == sorted(kinds, key=["placeholder", "get_attr", "call_function", "output"].index)


def test_t5_works_on_encoder_and_decoder_at_once():
    result = schedule_rounds(family("t5"))
    order = [str(node.meta["origin"].module_path) for node in result.graph.nodes if node.op == "call_function"]
    first_decoder = next(place for place, path in enumerate(order) if path.startswith("decoder"))
    last_encoder = max(place for place, path in enumerate(order) if path.startswith("encoder"))
    assert first_decoder < last_encoder


def test_the_critical_path_follows_the_slower_branch():
    b = Builder()
    x = b.input("x", values(2, 4))
    slow = b.call(ops.gelu, b.call(ops.linear, x, b.weight("w", 4, 4)))
    program = b.program(b.call(ops.mul, b.call(ops.reshape, slow, (2, 4)), b.call(ops.square, x)))
    names, rounds = critical_path(program)
    assert names == ["linear", "gelu", "mul"]
    # Opening x, truncating; the GELU's truncation; opening two factors, truncating.
    assert rounds == 2 + 1 + 2


def test_the_critical_path_of_measured_rounds():
    b = Builder()
    x = b.input("x", values(2, 4))
    slow = b.call(ops.gelu, b.call(ops.linear, x, b.weight("w", 4, 4)))
    program = b.program(b.call(ops.mul, slow, b.call(ops.square, x)))
    assert critical_path(program, {"square": 5, "linear": 2, "gelu": 2, "mul": 1}) == (["square", "mul"], 6)
    assert critical_path(program, {"linear": 2, "gelu": 4, "mul": 0, "square": 1}) == (["linear", "gelu"], 6)


def test_the_critical_path_is_shorter_than_the_sum():
    program = family("bert")
    _, rounds = critical_path(program)
    assert rounds < total_cost(program).rounds
    merged = merge_parallel_linears(program)
    assert critical_path(merged)[1] <= total_cost(merged).rounds


def test_dependencies_hold_every_value_and_use():
    b = Builder()
    x = b.input("x", values(2, 4))
    graph = dependencies(b.program(b.call(ops.add, b.call(ops.gelu, x), x)))
    assert set(graph.edges) == {("x", "gelu"), ("gelu", "add"), ("x", "add"), ("add", "output")}
    assert graph.nodes["add"]["rounds"] == 0
    assert graph.nodes["gelu"]["rounds"] > 0
