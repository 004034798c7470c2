"""Two linears with nothing between become one."""

from __future__ import annotations

from itertools import pairwise

import pytest

from mpccompile.ir import ops
from mpccompile.passes.fold_linear_chain import fold_linear_chain
from tests.passes.build import Builder, applied, calls, family, unchanged, values


def chain(b, sizes, biases):
    x = b.input("x", values(2, sizes[0]))
    for index, (inputs, outputs) in enumerate(pairwise(sizes)):
        bias = b.weight(f"b{index}", outputs) if biases[index] else None
        x = b.call(ops.linear, x, b.weight(f"w{index}", outputs, inputs), bias)
    return x


@pytest.mark.parametrize("biases", [(False, False), (True, False), (False, True), (True, True)])
def test_two_linears_become_one(biases):
    b = Builder()
    assert calls(applied(fold_linear_chain, b.program(chain(b, (4, 8, 3), biases)))) == {"linear": 1}


def test_a_longer_chain_becomes_one_too():
    b = Builder()
    assert calls(applied(fold_linear_chain, b.program(chain(b, (4, 8, 8, 3), (True, False, True))))) == {"linear": 1}


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama"])
def test_models_that_compute_between_are_left_alone(name):
    assert not unchanged(fold_linear_chain, family(name)).skipped


def test_a_bottleneck_stays():
    b = Builder()
    program = b.program(chain(b, (64, 2, 64), (True, True)))
    assert "a bottleneck of 2" in unchanged(fold_linear_chain, program).skipped[0]


def test_a_middle_that_others_read_stays():
    b = Builder()
    first = chain(b, (4, 8), (True,))
    program = b.program(b.call(ops.linear, first, b.weight("w", 3, 8)), b.call(ops.gelu, first))
    assert "others read" in unchanged(fold_linear_chain, program).skipped[0]


def test_a_weight_used_twice_stays():
    b = Builder()
    w = b.weight("w", 4, 4)
    program = b.program(b.call(ops.linear, b.call(ops.linear, b.input("x", values(2, 4)), w), w))
    assert "used elsewhere" in unchanged(fold_linear_chain, program).skipped[0]


def test_a_function_between_stays():
    b = Builder()
    hidden = b.call(ops.relu, chain(b, (4, 8), (True,)))
    assert not unchanged(fold_linear_chain, b.program(b.call(ops.linear, hidden, b.weight("w", 3, 8)))).skipped
