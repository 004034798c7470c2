"""The first thing that is not a number is the one that is named."""

from __future__ import annotations

import torch
from torch import nn

import mpccompile
from mpccompile.distill.finite import first_gradient_not_finite, first_not_finite
from mpccompile.distill.graphs import trainable
from tests import models


class Steep(nn.Module):
    """An exponential between two linears."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 3)
        self.outer = nn.Linear(3, 2)

    def forward(self, x):
        return self.outer(torch.exp(self.inner(x)))


def test_the_operation_and_its_module_are_named():
    program = mpccompile.program(Steep(), {"x": torch.randn(2, 3)})
    module = trainable(program)
    assert first_not_finite(program, module, {"x": torch.randn(2, 3)}) == ""
    found = first_not_finite(program, module, {"x": torch.full((2, 3), 1e38)})
    assert "exp" in found or "linear" in found
    with torch.no_grad():
        module.get_parameter("outer.weight").fill_(torch.nan)
    assert first_not_finite(program, module, {"x": torch.randn(2, 3)}) == "weight outer.weight"


def test_infinities_of_a_mask_are_none():
    model, inputs = models.torch_encoder(padding_mask=True)
    program = mpccompile.program(model, inputs)
    assert first_not_finite(program, program.module, inputs) == ""


def test_a_gradient_is_named_by_its_weight():
    model = Steep()
    assert first_gradient_not_finite(model) == ""
    model.outer.weight.grad = torch.full((2, 3), torch.inf)
    assert first_gradient_not_finite(model) == "outer.weight"
