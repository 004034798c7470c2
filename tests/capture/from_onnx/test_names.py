"""Names of a file become names of Python without getting in each other's way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import helper

from mpccompile.capture.from_onnx.capture import capture
from mpccompile.capture.from_onnx.model import OnnxModel
from mpccompile.capture.from_onnx.names import identifier, is_made_up, parameter_path
from mpccompile.ir.verify import max_error
from mpccompile.lowering.lower import lower
from tests.capture.from_onnx.cases import file_of


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("input_ids", "input_ids"),
        ("input.1", "input_1"),
        ("x:0", "x_0"),
        ("1", "_1"),
        ("class", "class_"),
        ("self", "self_"),
        ("torch", "torch_"),
        ("", "_"),
        ("größe", "gr__e"),
    ],
)
def test_an_input_can_be_a_keyword(name, plain):
    assert identifier(name) == plain


@pytest.mark.parametrize("name", ["onnx::MatMul_365", "val_59", "_12", "12", "/bert/Constant_3_output_0", "const_7"])
def test_a_name_of_an_exporter_says_nothing(name):
    assert is_made_up(name)


@pytest.mark.parametrize("name", ["encoder.layer.0.weight", "bert/encoder/kernel:0", "W", "value_bias"])
def test_a_name_of_a_weight_is_kept(name):
    assert not is_made_up(name)


@pytest.mark.parametrize(
    ("name", "owner", "path"),
    [
        ("encoder.layer.0.weight", "x", "encoder.layer.0.weight"),
        ("bert/encoder/kernel:0", "x", "bert.encoder.kernel_0"),
        ("onnx::MatMul_365", "encoder.query", "encoder.query.weight"),
        ("onnx::MatMul_365", "", "weight"),
        # Names that a module has itself.
        ("forward", "", "forward_"),
        ("places", "", "places_"),
        ("training.steps", "", "training_.steps_"),
    ],
)
def test_a_weight_is_kept_at_its_path(name, owner, path):
    assert parameter_path(name, owner, []) == path


@pytest.mark.parametrize("taken", [["a.b"], ["a.b.c"], ["a"]])
def test_no_path_begins_with_another(taken):
    path = parameter_path("a.b", "", taken)
    assert not any(f"{path}.".startswith(f"{other}.") or f"{other}.".startswith(f"{path}.") for other in taken)


def test_inputs_with_names_that_mean_something_else_run(tmp_path):
    names = ["self", "torch", "device", "inf", "mpc", "w", "x.1", "x_1", "X", "x", "class", "args"]
    nodes = [helper.make_node("Sum", names, ["sum"]), helper.make_node("MatMul", ["sum", "weight"], ["y"])]
    weight = np.eye(2, dtype=np.float32)
    path = file_of(tmp_path / "m.onnx", nodes, {name: [1, 2] for name in names}, ["y"], {"weight": weight})
    model = OnnxModel.read(path)
    inputs = {argument: torch.full((1, 2), 2.0**place) for place, argument in enumerate(model.inputs)}
    program = lower(capture(model, inputs))
    assert {spec.name for spec in program.inputs} == set(model.inputs)
    assert max_error(program) == 0
    assert torch.equal(program.reference[0], torch.full((1, 2), 2.0 ** len(names) - 1))
