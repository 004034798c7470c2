"""Where an error begins is found, whatever stands beside it."""

from __future__ import annotations

import pytest

from mpccompile.ir import ops
from mpccompile.ir.differences import first_difference, values_of
from mpccompile.ir.edit import edited
from tests.passes.build import Builder, values

TOLERANCE = 1e-5


def branches():
    """Two branches that meet, the left one first in the order of the graph, and an output of its own for the right."""
    b = Builder()
    x = b.input("x", values(2, 4))
    left = b.call(ops.linear, x, b.weight("w", 4, 4), b.weight("b", 4))
    right = b.call(ops.gelu, b.call(ops.mul, x, 2.0))
    return b.program(b.call(ops.add, left, right), right)


def found(program, change, wrong=(0,)):
    old = values_of(program)
    edit = edited(program)
    change(edit, {node.name: node for node in edit.nodes})
    return first_difference(program, edit.done(), old, wrong, TOLERANCE)


def test_a_branch_that_is_right_and_later_hides_nothing():
    it = found(branches(), lambda edit, nodes: edit.change(nodes["linear"], bias=None))
    assert (it.node.name, it.was, it.error > 0.1) == ("linear", "linear", True)
    assert [node.name for node in it.edited] == ["linear"]


def test_a_value_in_the_place_of_another_is_compared_with_it():
    def change(edit, nodes):
        edit.change(nodes["gelu"], x=edit.call(nodes["gelu"], ops.mul, nodes["mul"], 1.5))

    it = found(branches(), change, wrong=(0, 1))
    assert (it.node.target, it.was) == (ops.mul, "mul")
    assert it.error == pytest.approx(0.5, rel=0.5)


def test_what_is_scaled_and_scaled_back_is_right():
    def change(edit, nodes):
        double = edit.call(nodes["gelu"], ops.mul, nodes["mul"], 2.0)
        edit.change(nodes["gelu"], x=edit.call(nodes["gelu"], ops.mul, double, 0.5))
        edit.change(nodes["linear"], bias=None)

    assert found(branches(), change).node.name == "linear"


def test_what_no_value_can_be_compared_with_is_found_all_the_same():
    def change(edit, nodes):
        edit.replace(nodes["add"], edit.call(nodes["add"], ops.sub, *nodes["add"].args))

    it = found(branches(), change)
    assert it.node.target is ops.sub
    assert it.node in it.edited


def test_equal_programs_have_no_difference():
    program = branches()
    assert first_difference(program, program, values_of(program), (), TOLERANCE) is None
