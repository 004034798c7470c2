"""What does not depend on an input is computed at import, and weights stay weights."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from mpccompile.capture.from_onnx.capture import capture
from mpccompile.capture.from_onnx.model import OnnxModel
from mpccompile.errors import CaptureFailed, OptionError, UnsupportedOp
from mpccompile.ir.program import Secrecy
from mpccompile.lowering.lower import lower
from mpccompile.options import Options
from tests.capture.from_onnx.cases import FLOAT, INT64, file_of

BOOL = onnx.TensorProto.BOOL
RANDOM = np.random.default_rng(0)
W = RANDOM.normal(size=(4, 4)).astype(np.float32)
X = torch.arange(8.0).reshape(2, 4)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, f"{op}_node", **attributes)


def read(tmp_path, nodes, stored, outputs=("y",), inputs=None, **more):
    return OnnxModel.read(file_of(tmp_path / "m.onnx", nodes, inputs or {"x": [2, 4]}, outputs, stored, **more))


def test_a_shape_that_is_computed_is_known(tmp_path):
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "first"], ["rows"]),
        node("Concat", ["rows", "rest"], ["wanted"], axis=0),
        node("Reshape", ["x", "wanted"], ["y"]),
    ]
    bound = read(tmp_path, nodes, {"first": np.array([0]), "rest": np.array([2, -1])}).bound({"x": X})
    assert [step.site.node.op for step in bound.steps] == ["Reshape"]
    assert bound(x=X)["y"].shape == (2, 2, 2)
    assert not list(bound.parameters())


def test_weights_that_are_computed_of_weights_stay_secret(tmp_path):
    nodes = [node("Mul", ["w", "half"], ["v"]), node("MatMul", ["x", "v"], ["y"])]
    program = capture(read(tmp_path, nodes, {"w": W, "half": np.array(0.5, dtype=np.float32)}), {"x": X})
    (weight,) = program.secret_attributes
    assert torch.equal(program.module.get_parameter(weight).detach(), torch.from_numpy(W) / 2)
    assert [n.target for n in program.graph.nodes if n.op == "call_function"] == [torch.ops.aten.matmul.default]


def test_a_weight_that_is_only_moved_is_stored_once(tmp_path):
    nodes = [node("Transpose", ["w"], ["t"]), node("MatMul", ["x", "w"], ["h"]), node("MatMul", ["h", "t"], ["y"])]
    program = capture(read(tmp_path, nodes, {"w": W}), {"x": X})
    assert program.secret_attributes == {"w"}
    lower(program)


def branches(tmp_path, condition, inputs):
    def branch(name, op):
        return helper.make_graph(
            [helper.make_node(op, ["x"], [name])], name, [], [helper.make_tensor_value_info(name, FLOAT, None)]
        )

    nodes = [
        helper.make_node(
            "If", [condition], ["z"], "choice", then_branch=branch("a", "Relu"), else_branch=branch("b", "Det")
        ),
        node("Neg", ["z"], ["y"]),
    ]
    stored = {"yes": np.array(True), "no": np.array(False)}
    return read(tmp_path, nodes, stored, inputs=inputs, types={"flag": BOOL})


def test_a_branch_that_is_known_is_taken_and_the_other_is_not_looked_at(tmp_path):
    x = X - 4
    assert torch.equal(branches(tmp_path, "yes", {"x": [2, 4]})(x=x)["y"], -torch.relu(x))
    with pytest.raises(UnsupportedOp, match="Det"):
        branches(tmp_path, "no", {"x": [2, 4]})(x=x)


def test_a_branch_that_depends_on_an_input_is_refused(tmp_path):
    model = branches(tmp_path, "flag", {"x": [2, 4], "flag": []})
    with pytest.raises(UnsupportedOp, match=r"a branch is chosen by what the model is given.*choice"):
        model.bound({"x": X, "flag": torch.tensor(True)})


def test_a_shape_that_depends_on_values_is_refused(tmp_path):
    model = read(tmp_path, [node("Reshape", ["x", "s"], ["y"])], {}, inputs={"x": [2, 4], "s": [1]}, types={"s": INT64})
    with pytest.raises(UnsupportedOp, match=r"its input s depends on what the model is given.*Reshape_node"):
        model.bound({"x": X, "s": torch.tensor([8])})


def test_a_node_that_fails_is_named(tmp_path):
    model = read(tmp_path, [node("MatMul", ["x", "w"], ["y"])], {"w": W}, inputs={"x": ["n", "m"]})
    with pytest.raises(CaptureFailed, match=r"MatMul fails on operands of shapes \[2, 3\], \[4, 4\].*MatMul_node"):
        model.bound({"x": torch.zeros(2, 3)})


def test_an_attribute_that_is_not_known_is_refused(tmp_path):
    model = read(tmp_path, [node("Softmax", ["x"], ["y"], sharpness=2)], {}, opset=20)
    with pytest.raises(UnsupportedOp, match="its attribute sharpness is not known"):
        model.bound({"x": X})


def test_a_result_that_is_not_computed_is_refused_where_it_is_used(tmp_path):
    nodes = [node("LayerNormalization", ["x", "g"], ["y", "mean"])]
    stored = {"g": W[0]}
    assert read(tmp_path, nodes, stored)(x=X)["y"].shape == (2, 4)
    with pytest.raises(UnsupportedOp, match="the result mean of a node cannot be computed"):
        read(tmp_path, nodes, stored, outputs=("y", "mean"))(x=X)


def test_who_may_know_the_inputs(tmp_path):
    nodes = [node("Gather", ["table", "ids"], ["a"]), node("Cast", ["my_mask"], ["m"], to=FLOAT)]
    nodes += [node("Unsqueeze", ["m", "last"], ["u"]), node("Mul", ["a", "u"], ["y"])]
    inputs, types = {"ids": [2, 3], "my_mask": [2, 3]}, {"ids": INT64, "my_mask": INT64}
    model = read(tmp_path, nodes, {"table": W, "last": np.array([-1])}, inputs=inputs, types=types)
    given = {"ids": torch.tensor([[0, 1, 2], [3, 2, 1]]), "my_mask": torch.ones(2, 3, dtype=torch.int64)}
    levels = {spec.name: spec.secrecy for spec in capture(model, given).inputs}
    assert levels == {"ids": Secrecy.SECRET, "my_mask": Secrecy.PUBLIC}
    levels = {spec.name: spec.secrecy for spec in capture(model, given, Options(secret=("my_mask",))).inputs}
    assert set(levels.values()) == {Secrecy.SECRET}
    with pytest.raises(OptionError, match="no input named nobody"):
        capture(model, given, Options(secret=("nobody",)))
    assert capture(model, given, Options(embedding="public")).secret_attributes == set()


def test_a_cache_beside_the_logits_is_no_answer(tmp_path):
    nodes = [node("Relu", ["x"], ["logits"]), node("Neg", ["x"], ["present.0.key"])]
    assert list(read(tmp_path, nodes, {}, outputs=("logits", "present.0.key"))(x=X)) == ["logits"]
    assert len(read(tmp_path, nodes, {}, outputs=("present.0.key",))(x=X)) == 1
