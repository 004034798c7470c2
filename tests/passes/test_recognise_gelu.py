"""GELU is found in each way to write it out, and in nothing else."""

from __future__ import annotations

import math

import pytest
import torch

from mpccompile.errors import UnsupportedOp
from mpccompile.ir.verify import max_error, verify
from mpccompile.lowering.lower import lower
from mpccompile.passes.recognise_gelu import recognise_gelu
from tests.lowering.programs import EXACT, calls, captured, lowered, seeded

X = 2 * seeded(4, 5)
ROOT = math.sqrt(2 / math.pi)

ERF = {
    "half last": lambda x: x * (1 + torch.erf(x / math.sqrt(2))) * 0.5,
    "half first": lambda x: 0.5 * x * (1.0 + torch.erf(x * 0.7071067811865476)),
    "swapped": lambda x: (torch.erf(x / 1.4142135) + 1.0) * 0.5 * x,
    "half inside": lambda x: x * (0.5 + 0.5 * torch.erf(x / math.sqrt(2))),
    "two terms": lambda x: 0.5 * x + 0.5 * x * torch.erf(x / math.sqrt(2)),
    "a scaled value": lambda x: (y := 3 * x) * 0.5 * (1 + torch.erf(y / math.sqrt(2))),
}
TANH = {
    "as in GPT-2": lambda x: 0.5 * x * (1.0 + torch.tanh(ROOT * (x + 0.044715 * torch.pow(x, 3.0)))),
    "swapped": lambda x: (torch.tanh((x * x * x * 0.044715 + x) * ROOT) + 1) * (x * 0.5),
    "factored": lambda x: 0.5 * x * (1 + torch.tanh(x * 0.7978845608 * (1 + 0.044715 * x * x))),
    "public constant": lambda x: x * torch.tensor(0.5) * (1 + torch.tanh(torch.tensor([ROOT]) * (x + 0.044715 * x**3))),
}
NO_TANH = {
    "another cube": lambda x: 0.5 * x * (1.0 + torch.tanh(ROOT * (x + 0.05 * x**3))),
    "another root": lambda x: 0.5 * x * (1.0 + torch.tanh(0.8 * (x + 0.044715 * x**3))),
    "no half": lambda x: x * (1.0 + torch.tanh(ROOT * (x + 0.044715 * x**3))),
    "minus": lambda x: 0.5 * x * (1.0 - torch.tanh(ROOT * (x + 0.044715 * x**3))),
    "another value": lambda x: 0.5 * (x + 1) * (1.0 + torch.tanh(ROOT * (x + 0.044715 * x**3))),
    "squared": lambda x: 0.5 * x * x * (1.0 + torch.tanh(ROOT * (x + 0.044715 * x**3))),
    "a shift": lambda x: 0.5 * x * (1.0 + torch.tanh(ROOT * (x + 0.044715 * x**3) + 0.1)),
    "alone": torch.tanh,
}
NO_ERF = {
    "another divisor": lambda x: x * 0.5 * (1 + torch.erf(x / 1.5)),
    "no divisor": lambda x: x * 0.5 * (1 + torch.erf(x)),
    "no one": lambda x: x * 0.5 * torch.erf(x / math.sqrt(2)),
}


@pytest.mark.parametrize("form", ERF)
def test_the_erf_form_is_found_by_lowering(form):
    program = lowered(ERF[form], X)
    assert {name for name in calls(program) if name != "mul"} == {"gelu"}
    assert calls(program).get("mul", 0) == (form == "a scaled value")


@pytest.mark.parametrize("form", TANH)
def test_the_tanh_form_is_found(form):
    program = recognise_gelu(lowered(TANH[form], X))
    verify(program)
    assert calls(program) == {"gelu": 1}
    assert next(node for node in program.graph.nodes if node.op == "call_function").args[1] == "tanh"
    assert max_error(program) < EXACT


@pytest.mark.parametrize("form", NO_TANH)
def test_what_is_no_tanh_gelu_is_left_alone(form):
    program = lowered(NO_TANH[form], X)
    assert calls(recognise_gelu(program)) == calls(program)


@pytest.mark.parametrize("form", NO_ERF)
def test_what_is_no_erf_gelu_has_no_private_form(form):
    with pytest.raises(UnsupportedOp, match=r"aten.erf.default"):
        lower(captured(NO_ERF[form], X))


def test_a_value_that_is_used_elsewhere_stays():
    def function(x):
        inner = torch.tanh(ROOT * (x + 0.044715 * x**3))
        return 0.5 * x * (1.0 + inner) + inner

    program = recognise_gelu(lowered(function, X))
    assert calls(program)["gelu"] == 1
    assert calls(program)["tanh"] == 1
    assert max_error(program) < EXACT


def test_a_second_time_changes_nothing():
    program = recognise_gelu(lowered(TANH["as in GPT-2"], X))
    assert calls(recognise_gelu(program)) == calls(program)
