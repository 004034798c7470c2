"""Images are made larger and smaller privately, as onnxruntime does it."""

from __future__ import annotations

import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

import mpccompile
from tests.capture.from_onnx.cases import FLOAT, made
from tests.capture.from_onnx.exported import NEW, OLD, answer_of, export


class Scaled(nn.Module):
    """A convolution whose image is made twice as large, and then of another size."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, x):
        twice = nn.functional.interpolate(torch.relu(self.conv(x)), scale_factor=2, mode="nearest")
        return nn.functional.interpolate(twice, size=(7, 9), mode="bilinear", align_corners=False)


@pytest.mark.parametrize("exporter", [NEW, OLD])
def test_an_exported_image_is_resized_privately(tmp_path, exporter):
    torch.manual_seed(0)
    x, path = torch.randn(1, 1, 5, 6), tmp_path / "scaled.onnx"
    export(path, Scaled(), {"x": x}, exporter, 18)
    with mpccompile.compile(path, example_inputs={"x": x}) as private:
        (answer,) = private(x=x).values()
    torch.testing.assert_close(answer, answer_of(path, {"x": x})[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("opset", "op", "inputs"), [(10, "Resize", ["x", "s"]), (9, "Upsample", ["x", "s"])])
def test_the_first_forms_take_the_left_neighbour(opset, op, inputs):
    graph = helper.make_graph(
        [helper.make_node(op, inputs, ["y"], mode="nearest")],
        "graph",
        [helper.make_tensor_value_info("x", FLOAT, [1, 1, 1, 4])],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(torch.tensor([1.0, 1, 1, 1.5]).numpy(), "s")],
    )
    x = torch.arange(4.0).reshape(1, 1, 1, 4)
    (answer,) = made(graph, opset)(x=x).values()
    assert answer.flatten().tolist() == [0, 0, 1, 2, 2, 3]
