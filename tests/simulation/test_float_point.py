from __future__ import annotations

import pytest

import mpccompile
from mpccompile.capture.from_torch import as_for_inference
from mpccompile.capture.outputs import keep
from mpccompile.runtime.program import load_class
from mpccompile.simulation.float_point import FloatProgram
from tests.models import FAMILIES, mlp


@pytest.mark.parametrize("name", ["bert", "gpt2", "vit", "cnn"])
def test_the_program_in_floats_is_the_model(name):
    model, inputs = FAMILIES[name]()
    private = mpccompile.compile(model, example_inputs=inputs)
    with as_for_inference(model):
        expected = keep(model(**inputs))
    outputs = FloatProgram(private.compile_for(inputs))(inputs)
    assert tuple(outputs) == expected.spec.keys
    for output, tensor in zip(outputs.values(), expected.tensors, strict=True):
        assert output.shape == tensor.shape
        assert float((output - tensor).abs().max()) < 1e-5


def test_another_load_of_the_package_keeps_the_protocols():
    model, inputs = mlp()
    private = mpccompile.compile(model, example_inputs=inputs)
    package = private.compile_for(inputs)
    kind = load_class(package.folder / "model.py", "Sequential")
    FloatProgram(package)
    assert kind.forward.__globals__["mpc"].__name__ == "mpccompile.runtime.functions"
