"""Rewrites of a graph keep what it computes, or say less than it did."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import helper

from mpccompile.capture.from_onnx.capture import capture
from mpccompile.capture.from_onnx.model import OnnxModel
from mpccompile.capture.from_onnx.rewrites import SAFE_SOFTMAX
from mpccompile.errors import UnsupportedOp
from mpccompile.lowering.lower import lower
from tests.capture.from_onnx.cases import FLOAT, INT64, file_of

ZERO = np.array(0.0, dtype=np.float32)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, **attributes)


def written_out(path, opset=18, **changes):
    """A softmax over the last dim, as functions of ONNX write it out."""
    takes_input = opset >= 18
    axes, names = {} if takes_input else {"axes": [-1]}, ["axis"] if takes_input else []
    nodes = {
        "max": node("ReduceMax", ["x", *names], ["max"], keepdims=1, **axes),
        "sub": node("Sub", ["x", "max"], ["sub"]),
        "exp": node("Exp", ["sub"], ["exp"]),
        "sum": node("ReduceSum", ["exp", "axis"], ["sum"], keepdims=1),
        "div": node("Div", ["exp", "sum"], ["y"]),
    }
    stored = {"axis": np.array([-1]), "other": np.array([0])}
    return OnnxModel.read(file_of(path, [*(nodes | changes).values()], {"x": [3, 3]}, ["y"], stored, opset=opset))


@pytest.mark.parametrize("opset", [17, 18])
def test_a_softmax_that_is_written_out_is_one_call(tmp_path, opset):
    model = written_out(tmp_path / "m.onnx", opset)
    assert [each.op for each in model.graph.nodes] == ["Softmax"]
    x = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(x=x)["y"], torch.softmax(x, -1))
    lower(capture(model, {"x": x}))


@pytest.mark.parametrize(
    "change",
    [
        {"sum": node("ReduceSum", ["exp", "other"], ["sum"], keepdims=1)},
        {"sum": node("ReduceSum", ["sub", "axis"], ["sum"], keepdims=1)},
        {"sum": node("ReduceSum", ["exp", "axis"], ["sum"], keepdims=0)},
        {"sub": node("Sub", ["max", "x"], ["sub"])},
        {"div": node("Div", ["sum", "exp"], ["y"])},
    ],
    ids=["another axis", "another sum", "turned", "another sign", "upside down"],
)
def test_what_is_almost_a_softmax_stays(tmp_path, change):
    assert "Softmax" not in {each.op for each in written_out(tmp_path / "m.onnx", **change).graph.nodes}


def test_a_softmax_with_a_test_for_dead_rows_is_one_call(tmp_path):
    nodes = [
        node("Softmax", ["x"], ["s"], axis=-1),
        node("IsNaN", ["s"], ["bad"]),
        node("Where", ["bad", "zero", "s"], ["y"]),
    ]
    model = OnnxModel.read(file_of(tmp_path / "m.onnx", nodes, {"x": [2, 3]}, ["y"], {"zero": ZERO}))
    assert [each.op for each in model.graph.nodes] == [SAFE_SOFTMAX]
    x = torch.tensor([[0.0, 1.0, 2.0], [-torch.inf] * 3])
    wanted = torch.stack([torch.softmax(x[0], -1), torch.zeros(3)])
    torch.testing.assert_close(model(x=x)["y"], wanted)


def test_a_test_of_another_value_stays(tmp_path):
    nodes = [
        node("Softmax", ["x"], ["s"], axis=-1),
        node("IsNaN", ["s"], ["bad"]),
        node("Where", ["bad", "zero", "x"], ["y"]),
    ]
    model = OnnxModel.read(file_of(tmp_path / "m.onnx", nodes, {"x": [2, 3]}, ["y"], {"zero": ZERO}))
    assert [each.op for each in model.graph.nodes] == ["Softmax", "IsNaN", "Where"]


def counted(path, *, mask):
    nodes = [
        node("Equal", ["input_ids", "one"], ["padding"]),
        node("Not", ["padding"], ["real"]),
        node("Cast", ["real"], ["number"], to=INT64),
        node("CumSum", ["number", "axis"], ["count"]),
        node("Gather", ["positions", "count"], ["p"]),
        node("Gather", ["words", "input_ids"], ["w"]),
        node("Add", ["w", "p"], ["a"]),
    ]
    inputs, types = {"input_ids": [1, 4]}, {"input_ids": INT64, "attention_mask": INT64}
    if mask:
        nodes += [node("Cast", ["attention_mask"], ["m"], to=FLOAT), node("ReduceSum", ["m"], ["t"], keepdims=1)]
        nodes += [node("Unsqueeze", ["t", "axis"], ["u"]), node("Add", ["a", "u"], ["y"])]
        inputs["attention_mask"] = [1, 4]
    else:
        nodes.append(node("Identity", ["a"], ["y"]))
    table = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    stored = {"one": np.array(1), "axis": np.array([1]), "positions": table, "words": table[::-1].copy()}
    return OnnxModel.read(file_of(path, nodes, inputs, ["y"], stored, types=types))


def test_tokens_are_counted_by_the_mask_and_not_by_secret_ids(tmp_path):
    model = counted(tmp_path / "m.onnx", mask=True)
    inputs = {"input_ids": torch.tensor([[5, 6, 7, 1]]), "attention_mask": torch.tensor([[1, 1, 1, 0]])}
    program = lower(capture(model, inputs))
    torch.testing.assert_close(program.module(*program.example_inputs)[0].detach(), model(**inputs)["y"])


def test_without_a_mask_no_token_is_padding(tmp_path):
    model = counted(tmp_path / "m.onnx", mask=False)
    inputs = {"input_ids": torch.tensor([[5, 6, 7, 4]])}
    program = lower(capture(model, inputs))
    torch.testing.assert_close(program.module(*program.example_inputs)[0].detach(), model(**inputs)["y"])


def test_another_comparison_of_ids_is_refused(tmp_path):
    nodes = [
        node("Equal", ["input_ids", "one"], ["is_one"]),
        node("Cast", ["is_one"], ["c"], to=FLOAT),
        node("Mul", ["c", "c"], ["y"]),
    ]
    path = file_of(
        tmp_path / "m.onnx", nodes, {"input_ids": [1, 4]}, ["y"], {"one": np.array(1)}, types={"input_ids": INT64}
    )
    with pytest.raises(UnsupportedOp, match=r"aten\.eq"):
        lower(capture(OnnxModel.read(path), {"input_ids": torch.tensor([[5, 6, 7, 1]])}))
