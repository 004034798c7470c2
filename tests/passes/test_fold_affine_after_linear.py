"""Factors and shifts by channel move into the weights before them."""

from __future__ import annotations

import pytest

from mpccompile.ir import ops
from mpccompile.passes.fold_affine_after_linear import fold_affine_after_linear
from tests.passes.build import Builder, applied, calls, family, unchanged, values


def test_batch_norm_disappears():
    program = family("cnn")
    result = applied(fold_affine_after_linear, program)
    assert calls(program)["mul"] == 1
    assert calls(program)["add"] == 1
    assert "mul" not in calls(result)
    assert "add" not in calls(result)


def linear(b, bias=False):
    return b.call(ops.linear, b.input("x", values(2, 6, 4)), b.weight("w", 3, 4), b.weight("b", 3) if bias else None)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    "call",
    [
        lambda b, y: b.call(ops.add, y, b.weight("v", 3)),
        lambda b, y: b.call(ops.add, b.weight("v", 1, 1, 3), y),
        lambda b, y: b.call(ops.add, y, 0.5),
        lambda b, y: b.call(ops.sub, y, b.constant("v", values(3))),
        lambda b, y: b.call(ops.mul, y, b.weight("v", 3)),
        lambda b, y: b.call(ops.mul, b.constant("v", values(3)), y),
    ],
)
def test_a_vector_goes_into_a_linear(call, bias):
    b = Builder()
    assert calls(applied(fold_affine_after_linear, b.program(call(b, linear(b, bias))))) == {"linear": 1}


def test_channels_are_followed_through_views():
    b = Builder()
    heads = b.call(ops.permute, b.call(ops.reshape, linear(b), (2, 6, 3, 1)), (0, 2, 1, 3))
    program = b.program(b.call(ops.mul, heads, b.weight("v", 3, 1, 1)))
    assert "mul" not in calls(applied(fold_affine_after_linear, program))


def test_a_norm_takes_a_vector():
    b = Builder()
    norm = b.call(ops.layer_norm, b.input("x", values(2, 4)), b.weight("g", 4), None, 1e-5)
    total = b.call(ops.add, b.call(ops.mul, norm, b.weight("v", 4)), b.weight("u", 4))
    assert calls(applied(fold_affine_after_linear, b.program(total))) == {"layer_norm": 1}


def test_only_the_channels_that_are_shifted_change():
    b = Builder()
    y = linear(b)
    parts = b.call(ops.take, y, 2, 0, 1), b.call(ops.take, y, 2, 1, 3)
    program = b.program(b.call(ops.add, parts[0], 1.0), b.call(ops.gelu, parts[1]))
    assert "add" not in calls(applied(fold_affine_after_linear, program))


def test_position_embeddings_stay():
    b = Builder()
    program = b.program(b.call(ops.add, linear(b), b.weight("positions", 6, 3)))
    assert "differs from place to place" in unchanged(fold_affine_after_linear, program).skipped[0]


def test_a_second_reader_keeps_the_constant():
    b = Builder()
    y = linear(b)
    program = b.program(b.call(ops.add, y, b.weight("v", 3)), b.call(ops.gelu, y))
    assert "without the constant" in unchanged(fold_affine_after_linear, program).skipped[0]


def test_a_result_that_grows_stays():
    b = Builder()
    unchanged(fold_affine_after_linear, b.program(b.call(ops.add, linear(b), b.weight("v", 5, 1, 1, 3))))


def test_a_constant_minus_a_value_stays():
    b = Builder()
    unchanged(fold_affine_after_linear, b.program(b.call(ops.sub, b.constant("v", values(3)), linear(b))))


def test_a_shift_does_not_fit_an_rms_norm():
    b = Builder()
    norm = b.call(ops.rms_norm, b.input("x", values(2, 4)), b.weight("g", 4), 1e-6)
    unchanged(fold_affine_after_linear, b.program(b.call(ops.add, norm, b.weight("v", 4))))
