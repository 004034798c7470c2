"""Activations keep their form or become sums of ReLUs."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from mpccompile.errors import UnsupportedOp
from mpccompile.lowering.lower import lower
from tests.lowering.programs import calls, captured, lowered, seeded

X = 3 * seeded(4, 5)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (functional.gelu, {"gelu": 1}),
        (lambda x: functional.gelu(x, approximate="tanh"), {"gelu": 1}),
        (functional.silu, {"silu": 1}),
        (torch.tanh, {"tanh": 1}),
        (torch.sigmoid, {"sigmoid": 1}),
        (torch.relu, {"relu": 1}),
        (lambda x: functional.leaky_relu(x, 0.2), {"relu": 1, "mul": 2, "add": 1}),
        (functional.relu6, {"relu": 2, "add": 1, "sub": 1}),
        (functional.hardtanh, {"relu": 2, "add": 3, "sub": 1}),
        (lambda x: x.clamp(-0.5, 2.0), {"relu": 2, "add": 3, "sub": 1}),
        (lambda x: x.clamp(min=0), {"relu": 1}),
        (lambda x: x.clamp(max=1.0), {"add": 1, "relu": 1, "sub": 1}),
    ],
)
def test_an_activation(function, expected):
    assert calls(lowered(function, X)) == expected


def test_the_error_function_alone_is_refused():
    with pytest.raises(UnsupportedOp, match="inside a GELU only"):
        lower(captured(torch.erf, X))


def test_the_error_function_inside_a_gelu_is_recognised():
    assert calls(lowered(lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5)), X)) == {"gelu": 1}
