"""What is proven of a value holds for it, and everything in a Transformer or a small CNN is proven."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import fx, nn

from mpccompile import compiler
from mpccompile.capture.from_torch import capture
from mpccompile.codegen import ranges
from mpccompile.ir.bounds import bounds
from mpccompile.lowering.lower import lower
from mpccompile.options import Options
from mpccompile.passes.driver import run_passes
from tests import models

OPTIONS = Options()


def optimised(model, inputs):
    program = run_passes(lower(capture(model, inputs, OPTIONS)), compiler.RECOGNISERS)
    program = run_passes(program, compiler.passes_for(OPTIONS))
    return ranges.with_input_limits(program, [program.example_inputs], OPTIONS)


def proven(program):
    sites = ranges.calibrate(program, [program.example_inputs], OPTIONS)
    keywords = {name: site.keywords for name, site in sites.items()}
    return bounds(program, ranges._tested(program, keywords, OPTIONS.frac_bits))


class Recorder(fx.Interpreter):
    def run_node(self, n):
        result = super().run_node(n)
        if n.op == "call_function" and isinstance(result, torch.Tensor) and result.numel():
            self.seen = {**getattr(self, "seen", {}), n.name: float(result.abs().max())}
        return result


@pytest.mark.parametrize("family", ["bert", "cnn", "llama", "vit"])
def test_every_value_of_a_family_is_proven_and_below_its_bound(family):
    program = optimised(*models.FAMILIES[family]())
    # A warning, which would tell of an unproven value, is an error here.
    found = proven(program)
    recorder = Recorder(program.module)
    with torch.no_grad():
        recorder.run(*program.example_inputs)
    assert found
    for name, bound in found.items():
        assert recorder.seen.get(name, 0.0) <= bound < 2**29, name


def test_a_rotation_is_bound_at_every_position_not_at_the_examples():
    class Turned(nn.Module):
        def forward(self, x, position_ids):
            return torch.nn.functional.layer_norm(x, (4,)) * torch.cos(position_ids.float())

    inputs = {"x": torch.rand(1, 4), "position_ids": torch.tensor([[11]])}
    found = proven(optimised(Turned(), inputs))
    assert min(bound for name, bound in found.items() if name.startswith("mul")) >= 2.0


def test_a_value_that_grows_without_a_norm_is_told_of_with_its_place():
    model = nn.Sequential(*(part for _ in range(6) for part in (nn.Linear(64, 64), nn.ReLU())))
    for layer in model[::2]:
        nn.init.constant_(layer.weight, 1.0)
    program = optimised(model, (torch.rand(2, 64) * 1e-9,))
    with pytest.warns(UserWarning, match=r"a value at \d+ .*is not proven to stay below 5.37e\+08"):
        ranges.calibrate(program, [program.example_inputs], OPTIONS)


def test_nothing_is_told_of_a_model_that_is_proven():
    program = optimised(*models.FAMILIES["cnn"]())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ranges.calibrate(program, [program.example_inputs], OPTIONS)


@pytest.mark.parametrize(
    ("curve", "size"), [(torch.nn.functional.gelu, 6.0), (torch.nn.functional.silu, 6.0), (torch.tanh, 1.0)]
)
def test_a_curve_that_is_not_tested_yet_is_bound_by_what_it_can_give(curve, size):
    class Curved(nn.Module):
        def forward(self, x):
            return curve(3.0 * torch.nn.functional.layer_norm(x, (4,)))

    program = optimised(Curved(), (torch.rand(1, 4),))
    found = bounds(program, {})
    assert found[list(found)[-1]] == pytest.approx(size, rel=0.06)
