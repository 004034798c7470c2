"""SiLU is found where a value is multiplied with its own sigmoid, and nowhere else."""

from __future__ import annotations

import pytest
import torch

from mpccompile.ir.verify import max_error, verify
from mpccompile.passes.recognise_silu import recognise_silu
from tests.lowering.programs import EXACT, calls, lowered, seeded

X = seeded(2, 3, 4)

WRITTEN = {
    "in order": lambda x: x * torch.sigmoid(x),
    "swapped": lambda x: torch.sigmoid(x) * x,
}
OTHER = {
    "another value": lambda x: (x + 1) * torch.sigmoid(x),
    "a steeper sigmoid": lambda x: x * torch.sigmoid(1.702 * x),
    "a square": lambda x: torch.sigmoid(x) * torch.sigmoid(x),
}


@pytest.mark.parametrize("form", WRITTEN)
def test_silu_is_found_once(form):
    program = recognise_silu(lowered(WRITTEN[form], X))
    verify(program)
    assert calls(program) == {"silu": 1}
    assert max_error(program) < EXACT
    assert calls(recognise_silu(program)) == {"silu": 1}


@pytest.mark.parametrize("form", OTHER)
def test_other_products_stay(form):
    program = lowered(OTHER[form], X)
    assert calls(recognise_silu(program)) == calls(program)


def test_a_sigmoid_that_is_used_elsewhere_is_kept():
    def function(x):
        gate = torch.sigmoid(x)
        return x * gate + gate

    program = recognise_silu(lowered(function, X))
    assert calls(program) == {"silu": 1, "sigmoid": 1, "add": 1}
    assert max_error(program) < EXACT
