"""LayerNorm is found in each way to write it out, and in nothing else."""

from __future__ import annotations

import pytest
import torch

from mpccompile.ir.verify import max_error, verify
from mpccompile.passes.recognise_layer_norm import recognise_layer_norm
from mpccompile.passes.recognise_rms_norm import recognise_rms_norm
from tests.lowering.programs import EXACT, calls, lowered, seeded

X, W, B = seeded(2, 3, 4), seeded(4, seed=1), seeded(4, seed=2)


def divided(far, w, b):
    return far / torch.sqrt(far.pow(2).mean(-1, keepdim=True) + 1e-5) * w + b


def multiplied(far, w, b):
    return b + w * (torch.rsqrt((far * far).mean(2, True) + 1e-5) * far)


OTHER = {
    "the mean over another dim": lambda x, w, b: divided(x - x.mean(0, True), w, b),
    "the mean of another value": lambda x, w, b: divided(x - (x * x).mean(-1, True), w, b),
    "the mean added": lambda x, w, b: divided(x + x.mean(-1, True), w, b),
    "another value": lambda x, w, b: divided(w - x.mean(-1, True), w, b),
}


def both(program):
    return recognise_layer_norm(recognise_rms_norm(program))


@pytest.mark.parametrize("form", [divided, multiplied])
def test_layer_norm_is_found(form):
    found = both(lowered(lambda x, w, b: form(x - x.mean(-1, keepdim=True), w, b), X, w=W, b=B))
    verify(found)
    assert calls(found) == {"layer_norm": 1}
    assert max_error(found) < EXACT
    (node,) = [node for node in found.graph.nodes if node.op == "call_function"]
    assert node.args[3] == pytest.approx(1e-5)
    assert calls(both(found)) == {"layer_norm": 1}


def test_without_weights_it_has_none():
    def function(x):
        far = x - x.mean(-1, keepdim=True)
        return far * torch.rsqrt(far.pow(2).mean(-1, keepdim=True) + 1e-5)

    found = both(lowered(function, X))
    assert calls(found) == {"layer_norm": 1}
    assert max_error(found) < EXACT


def test_a_sum_that_is_no_bias_is_added_after():
    found = both(lowered(lambda x, w, b: divided(x - x.mean(-1, keepdim=True), w, x) + b, X, w=W, b=B))
    assert calls(found) == {"layer_norm": 1, "add": 2}
    assert max_error(found) < EXACT


@pytest.mark.parametrize("form", OTHER)
def test_other_norms_stay(form):
    assert "layer_norm" not in calls(both(lowered(OTHER[form], X, w=W, b=B)))
