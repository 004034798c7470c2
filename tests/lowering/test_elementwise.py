"""Arithmetic: one op where one will do, and nothing secret divided by what is public."""

from __future__ import annotations

import pytest
import torch

from mpccompile.errors import UnsupportedOp
from mpccompile.lowering.lower import lower
from tests.lowering.programs import calls, captured, lowered, name_of, run, seeded

X, Y = seeded(2, 3), seeded(2, 3, seed=1)
POSITIVE = seeded(2, 3).abs() + 0.5
KEEP = torch.tensor([True, False, True])


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x + 1.5, {"add": 1}),
        (lambda x: x + 0.0, {}),
        (lambda x: x * 1.0, {}),
        (lambda x: 2.0 - x, {"sub": 1}),
        (lambda x: x - 2.0, {"add": 1}),
        (lambda x: torch.rsub(x, 3.0, alpha=2), {"mul": 1, "sub": 1}),
        (lambda x: -x, {"neg": 1}),
        (lambda x: x / 4.0, {"mul": 1}),
        (lambda x: x / torch.tensor([1.0, 2.0, 4.0]), {"mul": 1}),
        (lambda x: x * x, {"square": 1}),
        (lambda x: x**2, {"square": 1}),
        (lambda x: x**3, {"square": 1, "mul": 1}),
        (lambda x: x**4, {"square": 2}),
        (lambda x: x**7, {"square": 2, "mul": 2}),
        (lambda x: x.square(), {"square": 1}),
        (torch.exp, {"exp": 1}),
        (lambda x: torch.where(KEEP, x, 0.0), {"where": 1}),
        (lambda x: torch.where(KEEP | True, x, 0.0), {}),
        (lambda x: x.masked_fill(KEEP, 2.0), {"where": 1}),
        (lambda x: x.abs(), {"relu": 1, "mul": 1, "sub": 1}),
    ],
)
def test_one_secret_operand(function, expected):
    assert calls(lowered(function, X)) == expected


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: 1 / x, {"reciprocal": 1}),
        (torch.rsqrt, {"rsqrt": 1}),
        (torch.sqrt, {"rsqrt": 1, "mul": 1}),
        (lambda x: x**-0.5, {"rsqrt": 1}),
        (lambda x: x**0.5, {"rsqrt": 1, "mul": 1}),
        (lambda x: x**-1, {"reciprocal": 1}),
        (lambda x: x / torch.sqrt(x + 1), {"add": 1, "rsqrt": 1, "mul": 1}),
    ],
)
def test_inverses_and_roots_of_positive_values(function, expected):
    assert calls(lowered(function, POSITIVE)) == expected


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x, y: x + y, {"add": 1}),
        (lambda x, y: torch.add(x, y, alpha=2), {"mul": 1, "add": 1}),
        (lambda x, y: x - y, {"sub": 1}),
        (lambda x, y: x * y, {"mul": 1}),
        (lambda x, y: x / y, {"reciprocal": 1, "mul": 1}),
        (torch.maximum, {"sub": 1, "relu": 1, "add": 1}),
        (torch.minimum, {"sub": 2, "relu": 1}),
    ],
)
def test_two_secret_operands(function, expected):
    assert calls(lowered(function, X, Y)) == expected


@pytest.mark.parametrize("function", [lambda x, y: y * x, lambda x, y: y + x, lambda x, y: x / y])
def test_the_secret_operand_is_in_front(function):
    program = lowered(function, X, Y, public="y")
    (node,) = [node for node in program.graph.nodes if name_of(node) in {"mul", "add"}]
    assert node.args[0].target == "x"
    assert torch.allclose(run(program, x=X, y=Y + 3)[0], function(X, Y + 3), atol=1e-6)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda x: x**9, "the power 9 has no private form"),
        (lambda x: x**0.3, "the power 0.3 has no private form"),
        (lambda x: x / 0.0, "it divides by 0"),
        (lambda x: torch.where(x > 0, x, 0.0), "a secret condition"),
        (lambda x: x.long().float(), "rounding a secret value"),
        (lambda x: x.bool().float(), "a comparison of a secret value with 0"),
    ],
)
def test_what_has_no_private_form_says_why(function, text):
    with pytest.raises(UnsupportedOp, match=text):
        lower(captured(function, X))
