"""Linears come before rearrangements of their rows."""

from __future__ import annotations

import pytest

from mpccompile.ir import ops
from mpccompile.ir.rewrite import shape_of
from mpccompile.passes.hoist_linear_before_views import hoist_linear_before_views
from tests.passes.build import Builder, applied, calls, family, only, unchanged, values


def linear(b, x):
    return b.call(ops.linear, x, b.weight("w", 3, 4), b.weight("b", 3))


@pytest.mark.parametrize(
    "view",
    [
        lambda b, x: b.call(ops.reshape, x, (12, 4)),
        lambda b, x: b.call(ops.permute, x, (1, 0, 2)),
        lambda b, x: b.call(ops.reshape, b.call(ops.permute, x, (1, 0, 2)), (12, 4)),
    ],
)
def test_a_linear_reads_what_its_view_reads(view):
    b = Builder()
    x = b.input("x", values(2, 6, 4))
    result = applied(hoist_linear_before_views, b.program(linear(b, view(b, x))))
    assert only(result, ops.linear).args[0].op == "placeholder"


def test_gpt2_linears_read_three_dims():
    result = applied(hoist_linear_before_views, family("gpt2"))
    ranks = [len(shape_of(node)) for node in result.graph.nodes if node.target is ops.linear]
    assert ranks == [3] * 9


def test_the_stored_part_of_a_concat_is_computed_apart():
    b = Builder()
    token = b.call(ops.expand, b.weight("token", 1, 1, 4), (2, 1, 4))
    joined = b.call(ops.concat, (token, b.input("x", values(2, 6, 4))), 1)
    result = applied(hoist_linear_before_views, b.program(linear(b, joined)))
    assert calls(result) == {"expand": 1, "linear": 2, "concat": 1}


@pytest.mark.parametrize(
    "view",
    [
        lambda b, x: b.call(ops.reshape, x, (2, 16, 4)),
        lambda b, x: b.call(ops.permute, b.call(ops.take, x, 2, 0, 4), (0, 2, 1)),
        lambda b, x: b.call(ops.take, x, 2, 0, 4),
    ],
)
def test_a_view_that_moves_channels_or_drops_some_stays(view):
    b = Builder()
    x = b.input("x", values(2, 4, 16))
    unchanged(hoist_linear_before_views, b.program(linear(b, view(b, x))))


def test_a_concat_of_inputs_or_of_channels_stays():
    b = Builder()
    x, y = b.input("x", values(2, 6, 4)), b.input("y", values(2, 6, 4, seed=1))
    stored = b.call(ops.expand, b.weight("stored", 1, 1, 2), (2, 6, 2))
    halves = b.call(ops.concat, (stored, b.call(ops.take, x, 2, 0, 2)), 2)
    unchanged(hoist_linear_before_views, b.program(linear(b, b.call(ops.concat, (x, y), 1)), linear(b, halves)))
