"""The text of a program: statements one by one, and those that run side by side."""

from __future__ import annotations

import ast

import pytest

from mpccompile.codegen.arrange import in_steps, one_by_one
from mpccompile.codegen.emit import emit
from mpccompile.ir import ops
from mpccompile.passes.schedule_rounds import rounds_of, schedule_rounds
from mpccompile.runtime.plan import Traffic
from tests.passes.build import Builder, family, values

GROUPED = """\
        linear_1, square_1 = mpc.together(
            # test.linear
            mpc.linear.steps(x, w['w1']),  # [2,4]  test.py:1
            # test.square
            mpc.square.steps(x),  # [2,4]  test.py:1
        )

        # test.neg
        neg_1 = mpc.neg(square_1)  # [2,4]  test.py:1

        # test.mul
        mul_1 = mpc.mul(linear_1, neg_1)  # [2,4]  test.py:1
        return mpc.to_crypten(mul_1)
"""


def program():
    b = Builder()
    x = b.input("x", values(2, 4))
    product = b.call(ops.linear, x, b.weight("w1", 4, 4))
    return schedule_rounds(b.program(b.call(ops.mul, product, b.call(ops.neg, b.call(ops.square, x)))))


def steps(program):
    rounds = {node.name: count for node, count in rounds_of(program).items() if count}
    return in_steps(program.graph, rounds, hold=False)


def test_a_group_is_one_call_with_a_line_for_each_member():
    source = emit(program(), {}, steps(program())).source
    assert source.endswith(GROUPED)
    assert "Statements inside mpc.together share their messages" in source


def test_one_by_one_there_is_no_group():
    each = program()
    source = emit(each, {}).source
    assert "mpc.together(" not in source
    assert source == emit(each, {}, one_by_one(each.graph)).source


def test_every_member_has_its_line_and_what_it_sends():
    each = program()
    items = steps(each)
    lines = emit(each, {}, items).lines
    traffic = {lines["linear"]: Traffic(lines["linear"], (64, 32), 2), lines["square"]: Traffic(0, (96, 96), 0)}
    emitted = emit(each, {}, items, traffic)
    text = emitted.source.splitlines()
    assert text[lines["linear"] - 1].endswith("# [2,4]  test.py:1  64 B, 2 rounds")
    assert text[lines["square"] - 1].endswith("# [2,4]  test.py:1  96 B")
    assert emitted.lines == lines
    for statement in emitted.statements:
        assert f"mpc.{statement.op}" in text[statement.line - 1]
    assert [statement.node for statement in emitted.statements] == ["linear_1", "square_1", "neg_1", "mul_1"]


@pytest.mark.parametrize("name", ["t5", "vit"])
def test_a_real_model_is_written_the_same_each_time_and_defines_what_it_reads(name):
    each = schedule_rounds(family(name))
    source = emit(each, {}, steps(each)).source
    assert source == emit(each, {}, steps(each)).source
    assert source.count("mpc.together(") > 1
    (forward,) = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef) and n.name == "forward"]
    known = {"mpc", "torch", "inf", *(argument.arg for argument in forward.args.args)}
    for statement in forward.body:
        found = [n for n in ast.walk(statement) if isinstance(n, ast.Name)]
        assert known.issuperset(n.id for n in found if isinstance(n.ctx, ast.Load))
        known.update(n.id for n in found)
