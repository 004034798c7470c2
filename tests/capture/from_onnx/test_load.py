"""Files that are none, are damaged, or hold what cannot be imported are refused with what is wrong."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from mpccompile.capture.from_onnx.model import OnnxModel
from mpccompile.errors import CaptureFailed, InputError, UnsupportedOp
from tests.capture.from_onnx.cases import FLOAT, file_of
from tests.capture.from_onnx.exported import answer_of

W = np.arange(6, dtype=np.float32).reshape(2, 3)
LINEAR = [helper.make_node("MatMul", ["x", "w"], ["y"], "product")]


def linear(path, **more):
    return file_of(path, LINEAR, {"x": [4, 2]}, ["y"], {"w": W}, **more)


def test_a_truncated_file_is_told(tmp_path):
    path = linear(tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match="not an ONNX file, or not all of it"):
        OnnxModel.read(path)


@pytest.mark.parametrize("name", [b"product", b"MatMul", b"y"])
def test_a_name_that_is_no_text_is_told(tmp_path, name):
    path = linear(tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes().replace(name, b"\xcb" + name[1:]))
    with pytest.raises(InputError, match="not an ONNX file, or not all of it"):
        OnnxModel.read(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 something", b"# a text\n" * 9])
def test_another_file_is_told(tmp_path, content):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(InputError, match="not an ONNX file"):
        OnnxModel.read(tmp_path / "m.onnx")


def test_no_file_and_a_folder_are_told(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        OnnxModel.read(tmp_path / "m.onnx")
    with pytest.raises(InputError, match="cannot be read"):
        OnnxModel.read(tmp_path)


@pytest.mark.parametrize(("opset", "message"), [(9, "opset 9, and 13 is the oldest"), (99, "opset 99, and the inst")])
def test_another_opset_is_told(tmp_path, opset, message):
    with pytest.raises(CaptureFailed, match=message):
        OnnxModel.read(linear(tmp_path / "m.onnx", opset=opset))


def test_a_file_that_breaks_a_rule_is_told(tmp_path):
    nodes = [helper.make_node("MatMul", ["x", "nowhere"], ["y"])]
    path = file_of(tmp_path / "m.onnx", nodes, {"x": [4, 2]}, ["y"], {})
    with pytest.raises(InputError, match=r"no valid ONNX model: .* reads nowhere"):
        OnnxModel.read(path)


def test_external_data_is_read_from_beside_the_file_and_missed(tmp_path):
    model = onnx.load(linear(tmp_path / "m.onnx"))
    path = tmp_path / "outside.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    x = torch.randn(4, 2)
    assert torch.equal(OnnxModel.read(path)(x=x)["y"], x @ torch.from_numpy(W))
    (tmp_path / "weights.bin").write_bytes(b"short")
    with pytest.raises((InputError, CaptureFailed), match=r"tensor|data"):
        OnnxModel.read(path)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(InputError, match=r"external data is missing: weights.bin.*same folder"):
        OnnxModel.read(path)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_weights_of_other_widths_are_read_as_float32(tmp_path, dtype):
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype)) if dtype != "bfloat16" else onnx.TensorProto.BFLOAT16
    graph = helper.make_graph(
        LINEAR,
        "graph",
        [helper.make_tensor_value_info("x", kind, [4, 2])],
        [helper.make_tensor_value_info("y", kind, [4, 3])],
        [helper.make_tensor("w", kind, [2, 3], W.flatten())],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "m.onnx")
    model = OnnxModel.read(tmp_path / "m.onnx")
    assert model.types == {"x": torch.float32}
    x = torch.randn(4, 2)
    assert torch.equal(model(x=x)["y"], x @ torch.from_numpy(W))


def test_everything_that_is_missing_is_listed(tmp_path):
    nodes = [
        helper.make_node("Det", ["x"], ["a"], "first"),
        helper.make_node("Det", ["x"], ["b"], "second"),
        helper.make_node("LSTM", ["x", "x", "x"], ["c"], "third", hidden_size=2),
        helper.make_node("Special", ["c"], ["d"], "fourth", domain="vendor"),
        helper.make_node("Sum", ["a", "b", "d"], ["y"]),
        # What no output needs is no matter.
        helper.make_node("GRU", ["x", "x", "x"], ["unused"], "fifth", hidden_size=2),
    ]
    path = file_of(tmp_path / "m.onnx", nodes, {"x": [2, 2]}, ["y"], {})
    with pytest.raises(UnsupportedOp) as refused:
        OnnxModel.read(path)
    said = str(refused.value)
    assert said.startswith("3 operators of the file cannot be imported")
    assert all(
        text in said for text in ("Det at first, second", "LSTM at third", "vendor.Special at fourth", "--onnx-ops")
    )
    assert "GRU" not in said


def branching(graphs):
    """An If with a known condition whose branches hold a node each, and a MatMul behind it."""
    branches = {
        name: helper.make_graph([node], name, [], [helper.make_tensor_value_info(node.output[0], FLOAT, None)])
        for name, node in graphs.items()
    }
    return helper.make_node("If", ["condition"], ["c"], "choice", **branches)


def test_what_is_missing_inside_of_nodes_is_listed_too(tmp_path):
    inner = branching(
        {
            "then_branch": helper.make_node("Det", ["x"], ["t"], "deep"),
            "else_branch": helper.make_node("Relu", ["x"], ["e"], "known"),
        }
    )
    outer = {"then_branch": helper.make_node("GridSample", ["x", "x"], ["a"], "grid"), "else_branch": inner}
    outer["else_branch"].name = "inner"
    nodes = [branching(outer), helper.make_node("STFT", ["c", "x"], ["y"], "last")]
    path = file_of(tmp_path / "m.onnx", nodes, {"x": [2, 2]}, ["y"], {"condition": np.array(True)})
    with pytest.raises(UnsupportedOp) as refused:
        OnnxModel.read(path)
    said = str(refused.value)
    assert said.startswith("3 operators of the file cannot be imported")
    assert all(text in said for text in ("Det at deep in inner in choice", "GridSample at grid in choice", "STFT at"))


def test_what_is_missing_in_a_branch_that_is_not_taken_is_no_matter(tmp_path):
    nodes = {
        "then_branch": helper.make_node("Relu", ["x"], ["a"], "known"),
        "else_branch": helper.make_node("Det", ["x"], ["b"], "missing"),
    }
    path = file_of(tmp_path / "m.onnx", [branching(nodes)], {"x": [2, 2]}, ["c"], {"condition": np.array(True)})
    assert OnnxModel.read(path)(x=torch.ones(2, 2))["c"].shape == (2, 2)
    file_of(path, [branching(nodes)], {"x": [2, 2]}, ["c"], {"condition": np.array(False)})
    with pytest.raises(UnsupportedOp, match=r"Det at missing"):
        OnnxModel.read(path)(x=torch.ones(2, 2))


def test_a_layout_of_one_processor_is_refused_with_what_to_do(tmp_path):
    node = helper.make_node("ReorderInput", ["x"], ["y"], "reorder", domain="com.microsoft.nchwc")
    path = file_of(tmp_path / "m.onnx", [node], {"x": [1, 8, 2, 2]}, ["y"], {})
    with pytest.raises(UnsupportedOp, match=r"ReorderInput at reorder: it is laid out for .* extended level"):
        OnnxModel.read(path)


def test_a_quantised_file_is_refused_as_one(tmp_path):
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale"], ["q"], "quantise"),
        helper.make_node("DequantizeLinear", ["q", "scale"], ["y"], "back"),
    ]
    path = file_of(tmp_path / "m.onnx", nodes, {"x": [2, 2]}, ["y"], {"scale": np.array(0.1, dtype=np.float32)})
    with pytest.raises(UnsupportedOp, match=r"quantised: 2 nodes such as quantise, back.*float32"):
        OnnxModel.read(path)


def test_local_functions_are_inlined(tmp_path):
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    body = [helper.make_node("Mul", ["a", "a"], ["s"]), helper.make_node("Relu", ["s"], ["r"])]
    function = helper.make_function("own", "Square", ["a"], ["r"], body, opsets[:1])
    graph = helper.make_graph(
        [helper.make_node("Square", ["x"], ["y"], domain="own")],
        "graph",
        [helper.make_tensor_value_info("x", FLOAT, [3])],
        [helper.make_tensor_value_info("y", FLOAT, [3])],
    )
    onnx.save(helper.make_model(graph, functions=[function], opset_imports=opsets, ir_version=10), tmp_path / "m.onnx")
    x = torch.tensor([-1.0, 2.0, 3.0])
    assert torch.equal(OnnxModel.read(tmp_path / "m.onnx")(x=x)["y"], x * x)


def test_names_of_another_exporter_become_arguments_and_paths(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["input:0", "net/dense/kernel:0"], ["a"], "net/dense/MatMul"),
        helper.make_node("Add", ["a", "net/dense/bias:0"], ["b"], "net/dense/BiasAdd"),
        helper.make_node("Relu", ["b"], ["Identity:0"], "net/dense/Relu"),
    ]
    stored = {"net/dense/kernel:0": W, "net/dense/bias:0": W[0]}
    path = file_of(tmp_path / "tf-net.onnx", nodes, {"input:0": ["unk__1", 2]}, ["Identity:0"], stored)
    model = OnnxModel.read(path)
    assert (model.name, model.inputs) == ("TfNet", {"input_0": "input:0"})
    x = torch.randn(5, 2)
    (wanted,) = answer_of(path, {"input:0": x})
    torch.testing.assert_close(model(input_0=x)["Identity:0"], wanted)
    weights = dict(model.bound({"input_0": x}).named_parameters())
    assert set(weights) == {"net.dense.kernel_0", "net.dense.bias_0"}
