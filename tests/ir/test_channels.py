"""Channels are followed through views, and weights changed channel by channel."""

from __future__ import annotations

import pytest
import torch

from mpccompile.ir import ops
from mpccompile.ir.channels import (
    along_last,
    bias_name,
    channel_count,
    channel_numbers,
    is_view,
    scale_channels,
    scale_inputs,
    shift_channels,
    unviewed,
    uses,
    why_fixed,
)
from mpccompile.ir.edit import edited
from tests.passes.build import Builder, only, values


def run(program):
    return program.module(*program.example_inputs)[0]


def test_channels_are_numbered_along_their_dim():
    b = Builder()
    linear = b.call(ops.linear, b.input("x", values(2, 4)), b.weight("w", 3, 4))
    conv = b.call(ops.conv2d, b.input("y", values(1, 2, 4, 4)), b.weight("k", 5, 2, 1, 1))
    assert channel_numbers(linear).tolist() == [[0, 1, 2]] * 2
    assert channel_numbers(conv)[0, :, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert (channel_count(linear), channel_count(conv)) == (3, 5)


def test_uses_are_found_through_views():
    b = Builder()
    y = b.call(ops.linear, b.input("x", values(2, 4)), b.weight("w", 6, 4))
    part = b.call(ops.take, y, 1, 2, 6)
    heads = b.call(ops.permute, b.call(ops.reshape, part, (2, 2, 2)), (0, 2, 1))
    program = b.program(b.call(ops.gelu, heads), y)
    found = {use.user.name: use.channels for use in uses(program.module, only(program, ops.linear))}
    assert found["gelu"][0].tolist() == [[2, 4], [3, 5]]
    assert found["output"].tolist() == [[0, 1, 2, 3, 4, 5]] * 2
    assert unviewed(only(program, ops.gelu).args[0]) is only(program, ops.linear)


def test_rows_gathered_at_an_input_are_no_view():
    b = Builder()
    x = b.input("x", values(4, 4))
    known = b.call(ops.gather_rows, x, 0, b.constant("i", torch.tensor([1])))
    unknown = b.call(ops.gather_rows, x, 0, b.input("j", torch.tensor([1])))
    assert is_view(known)
    assert not is_view(unknown)


def test_channels_along_the_last_dim():
    assert along_last(torch.tensor([[0, 1], [0, 1]])).tolist() == [0, 1]
    assert along_last(torch.tensor([[0, 0], [1, 1]])) is None
    assert along_last(torch.empty(0, 3)) is None


SOURCES = {
    "linear": lambda b: b.call(ops.linear, b.input("x", values(2, 4)), b.weight("w", 3, 4), b.weight("b", 3)),
    "conv2d": lambda b: b.call(
        ops.conv2d, b.input("x", values(1, 4, 2, 2)), b.weight("w", 3, 4, 1, 1), b.weight("b", 3)
    ),
    "layer_norm": lambda b: b.call(ops.layer_norm, b.input("x", values(2, 3)), b.weight("w", 3), b.weight("b", 3)),
}


def by_channel(vector, like):
    return vector.reshape(1, 3, 1, 1) if like.dim() == 4 else vector


@pytest.mark.parametrize("name", SOURCES)
def test_channels_are_scaled_and_shifted(name):
    b = Builder()
    program = b.program(SOURCES[name](b))
    vector = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)
    for change, wanted in ((scale_channels, torch.mul), (shift_channels, torch.add)):
        edit = edited(program)
        (source,) = [node for node in edit.nodes if node.op == "call_function"]
        assert not why_fixed(edit, source)
        change(edit, source, vector)
        torch.testing.assert_close(run(edit.done()), wanted(run(program), by_channel(vector.float(), run(program))))


@pytest.mark.parametrize("name", ["linear", "conv2d"])
def test_inputs_are_scaled_in_the_weight(name):
    b = Builder()
    program = b.program(SOURCES[name](b))
    edit = edited(program)
    (reader,) = [node for node in edit.nodes if node.op == "call_function"]
    factors = torch.tensor([2.0, -1.0, 0.5, 3.0])
    scale_inputs(edit, reader, factors.double())
    x = program.example_inputs[0]
    scaled = x * (factors if x.dim() == 2 else factors.reshape(1, 4, 1, 1))
    torch.testing.assert_close(run(edit.done()), program.module(scaled)[0])


def test_weights_that_may_not_change():
    b = Builder()
    table = b.weight("table", 5, 4)
    rows = b.call(ops.embedding, b.input("ids", torch.tensor([1])), table)
    tied = b.call(ops.linear, rows, table)
    given = b.call(ops.linear, rows, b.input("w", values(3, 4)))
    bare = b.call(ops.layer_norm, rows)
    edit = edited(b.program(tied, given, bare, b.call(ops.gelu, rows)))
    calls = {node.name: why_fixed(edit, node) for node in edit.nodes if node.op in ("call_function", "placeholder")}
    assert "table is used elsewhere too" in calls["linear"]
    assert "not stored secrets" in calls["linear_1"]
    assert calls["layer_norm"] == "layer_norm has no weights"
    assert calls["gelu"] == "gelu has no weights"
    assert calls["ids"] == "the input ids has no weights"


def test_a_bias_is_named_after_its_weight():
    b = Builder()
    assert bias_name(b.weight("layer_weight", 2)) == "layer_bias"
    assert bias_name(b.weight("table", 2)) == "table_bias"
