"""RMSNorm is found in each way to write it out, and in nothing else."""

from __future__ import annotations

import pytest
import torch

from mpccompile.ir.verify import max_error, verify
from mpccompile.passes.recognise_rms_norm import recognise_rms_norm
from tests.lowering.programs import EXACT, calls, lowered, seeded

X, W = seeded(2, 3, 4), seeded(4, seed=1)

WRITTEN = {
    "as in Llama": lambda x, w: w * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)),
    "swapped": lambda x, w: (torch.rsqrt(1e-6 + (x * x).mean(2, keepdim=True)) * x) * w,
    "a division": lambda x, w: x / torch.sqrt(x.pow(2).mean(-1, True) + 1e-6) * w,
    "a weight near 1": lambda x, w: x * torch.rsqrt(x.pow(2).mean(-1, True) + 1e-6) * (1 + w),
}
OTHER = {
    "another dim": lambda x, w: w * (x * torch.rsqrt(x.pow(2).mean(-2, keepdim=True) + 1e-6)),
    "two dims": lambda x, w: w * (x * torch.rsqrt(x.pow(2).mean((-1, -2), keepdim=True) + 1e-6)),
    "another value": lambda x, w: w * ((x + 1) * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)),
    "a cube": lambda x, w: w * (x * torch.rsqrt(x.pow(4).mean(-1, keepdim=True) + 1e-6)),
    "a sum": lambda x, w: w * (x * torch.rsqrt(x.pow(2).sum(-1, keepdim=True) + 1e-6)),
    "a secret eps": lambda x, w: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + w[:1].square()),
}


@pytest.mark.parametrize("form", WRITTEN)
def test_rms_norm_is_found(form):
    program = recognise_rms_norm(lowered(WRITTEN[form], X, w=W))
    verify(program)
    assert {name for name in calls(program) if name != "add"} == {"rms_norm"}
    assert max_error(program) < EXACT
    (node,) = [node for node in program.graph.nodes if getattr(node.target, "__name__", "") == "rms_norm"]
    assert node.args[2] == pytest.approx(1e-6)


def test_without_a_vector_it_has_no_weight():
    def function(x):
        normal = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
        return normal * normal.sum(-1, keepdim=True)

    program = recognise_rms_norm(lowered(function, X))
    assert calls(program) == {"rms_norm": 1, "sum": 1, "mul": 1}
    assert max_error(program) < EXACT


def test_two_norms_of_one_value_are_both_found():
    def function(x, w):
        root = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
        return x * root * w + x * root * 2.0

    program = recognise_rms_norm(lowered(function, X, w=W))
    assert calls(program) == {"rms_norm": 2, "mul": 1, "add": 1}
    assert max_error(program) < EXACT


@pytest.mark.parametrize("form", OTHER)
def test_what_is_no_rms_norm_is_left_alone(form):
    program = lowered(OTHER[form], X, w=W)
    assert calls(recognise_rms_norm(program)) == calls(program)


def test_a_second_time_changes_nothing():
    program = recognise_rms_norm(lowered(WRITTEN["as in Llama"], X, w=W))
    assert calls(recognise_rms_norm(program)) == calls(program)
