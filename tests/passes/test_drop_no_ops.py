"""Calls that change nothing go; views of views become one."""

from __future__ import annotations

import pytest
import torch

from mpccompile.ir import ops
from mpccompile.ir.rewrite import arguments
from mpccompile.passes.drop_no_ops import drop_no_ops
from tests.passes.build import Builder, applied, calls, family, only, unchanged, values

VIEWS = ("reshape", "permute", "take", "expand", "concat")


def counted(program, *names):
    found = calls(program)
    return sum(found.get(name, 0) for name in names)


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5", "vit", "torch_encoder"])
def test_real_models_have_fewer_views(name):
    program = family(name)
    result = applied(drop_no_ops, program)
    assert counted(result, *VIEWS) < counted(program, *VIEWS)
    rest = {name: count for name, count in calls(program).items() if name not in VIEWS}
    assert {name: count for name, count in calls(result).items() if name not in VIEWS} == rest


def one(call):
    b = Builder()
    x = b.input("x", values(2, 6, 4))
    return b.program(b.call(ops.gelu, call(b, x)))


@pytest.mark.parametrize(
    "call",
    [
        lambda b, x: b.call(ops.mul, x, 1.0),
        lambda b, x: b.call(ops.mul, x, b.constant("one", torch.ones(1))),
        lambda b, x: b.call(ops.add, x, 0.0),
        lambda b, x: b.call(ops.add, b.constant("zero", torch.zeros(1)), x),
        lambda b, x: b.call(ops.sub, x, 0.0),
        lambda b, x: b.call(ops.neg, b.call(ops.neg, x)),
        lambda b, x: b.call(ops.reshape, x, (2, 6, 4)),
        lambda b, x: b.call(ops.reshape, b.call(ops.reshape, x, (12, 4)), (2, 6, 4)),
        lambda b, x: b.call(ops.permute, b.call(ops.permute, x, (0, 2, 1)), (0, 2, 1)),
        lambda b, x: b.call(ops.expand, x, (2, 6, 4)),
        lambda b, x: b.call(ops.take, x, 1, 0, 6),
        lambda b, x: b.call(ops.take, x, -2, 0, 99),
        lambda b, x: b.call(ops.take, b.call(ops.concat, (b.call(ops.relu, x), x), 1), 1, 6, 12),
        lambda b, x: b.call(ops.concat, (x,), 1),
        lambda b, x: b.call(ops.gather_rows, x, 1, b.constant("all", torch.arange(6))),
    ],
)
def test_what_changes_nothing_goes(call):
    assert calls(applied(drop_no_ops, one(call))) == {"gelu": 1}


def test_slices_of_slices_are_slices():
    program = one(lambda b, x: b.call(ops.take, b.call(ops.take, x, 1, 1, 6, 2), 1, 1, 3))
    given = arguments(only(applied(drop_no_ops, program), ops.take))
    assert (given["start"], given["stop"], given["step"]) == (3, 6, 2)


def test_a_permute_of_dims_of_size_1_is_a_reshape():
    b = Builder()
    program = b.program(b.call(ops.gelu, b.call(ops.permute, b.input("x", values(2, 1, 4)), (1, 0, 2))))
    assert calls(applied(drop_no_ops, program)) == {"reshape": 1, "gelu": 1}


def test_numbers_are_multiplied_and_added_up():
    assert calls(applied(drop_no_ops, one(lambda b, x: b.call(ops.mul, b.call(ops.mul, x, 2.0), 3.0)))) == {
        "mul": 1,
        "gelu": 1,
    }
    assert calls(applied(drop_no_ops, one(lambda b, x: b.call(ops.add, b.call(ops.add, x, 2.0), -2.0)))) == {"gelu": 1}


def test_equal_calls_are_made_once():
    b = Builder()
    x, y = b.input("x", values(2, 4)), b.input("y", values(2, 4, seed=1))
    twice = [b.call(ops.take, b.call(ops.mul, x, y), *where) for where in ((1, 0, 2), (1, 0, 2, 1))]
    result = applied(drop_no_ops, b.program(b.call(ops.add, *twice)))
    assert calls(result) == {"mul": 1, "take": 1, "add": 1}


def test_the_same_weight_is_read_once():
    b = Builder()
    x = b.input("x", values(2, 4))
    readers = [b.call(ops.linear, x, b.weight("w", data=values(4, 4)), None) for _ in range(2)]
    assert calls(applied(drop_no_ops, b.program(b.call(ops.add, *readers)))) == {"linear": 1, "add": 1}


def test_an_integer_and_a_float_factor_are_different():
    b = Builder()
    x = b.input("x", values(2, 4))
    unchanged(drop_no_ops, b.program(b.call(ops.mul, x, 2), b.call(ops.mul, x, 2.0)))


@pytest.mark.parametrize(
    "call",
    [
        lambda b, x: b.call(ops.sub, 0.0, x),
        lambda b, x: b.call(ops.add, x, b.constant("zero", torch.zeros(3, 1, 1, 1))),
        lambda b, x: b.call(ops.take, x, 1, 0, 5),
        lambda b, x: b.call(ops.permute, x, (1, 0, 2)),
        lambda b, x: b.call(ops.gather_rows, x, 1, b.constant("back", torch.arange(5, -1, -1))),
        lambda b, x: b.call(ops.take, b.call(ops.concat, (x, x), 1), 1, 5, 8),
    ],
)
def test_what_changes_something_stays(call):
    unchanged(drop_no_ops, one(call))
