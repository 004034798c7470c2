"""Stored tensors are read as float32, and rounded constants as the numbers they were."""

from __future__ import annotations

import onnx
import pytest
import torch
from torch import nn

from mpccompile.capture.from_onnx.capture import capture
from mpccompile.capture.from_onnx.model import OnnxModel
from mpccompile.capture.from_onnx.tensors import from_proto
from mpccompile.lowering.lower import lower
from mpccompile.passes.recognise_gelu import recognise_gelu
from tests.capture.from_onnx.exported import NEW, OLD, export
from tests.lowering.programs import calls

DTYPES = [torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("form", ["none", "tanh"])
@pytest.mark.parametrize(("exporter", "opset"), [(OLD, 17), (NEW, 18)])
def test_a_gelu_that_is_written_out_is_found_in_a_file_of_16_bits(tmp_path, dtype, form, exporter, opset):
    model = nn.Sequential(nn.Linear(4, 6), nn.GELU(approximate=form), nn.Linear(6, 2)).to(dtype)
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    export(tmp_path / "model.onnx", model, {"x": x.to(dtype)}, exporter, opset)
    assert "Gelu" not in {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}
    program = recognise_gelu(lower(capture(OnnxModel.read(tmp_path / "model.onnx"), {"x": x})))
    assert calls(program) == {"linear": 2, "gelu": 1}
    with torch.no_grad():
        assert (program.reference[0] - model.float()(x)).abs().max() < 1e-5


def test_only_single_numbers_of_16_bits_are_taken_for_rounded_constants():
    def read(kind, shape):
        return from_proto(onnx.helper.make_tensor("c", kind, shape, [1.4140625] * max(1, *shape, 1))).flatten()[0]

    halves, single = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16), onnx.TensorProto.FLOAT
    assert [float(read(kind, [])) for kind in halves] == [pytest.approx(2**0.5, rel=1e-7)] * 2
    assert [float(read(kind, [2])) for kind in halves] == [1.4140625] * 2
    assert float(read(single, [])) == 1.4140625
