"""Files that skl2onnx wrote of models of scikit-learn, which is no exporter of torch, answer as onnxruntime does."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from skl2onnx import to_onnx
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, RobustScaler, StandardScaler
from sklearn.tree import DecisionTreeRegressor

import mpccompile
from mpccompile.capture.from_onnx.capture import capture
from mpccompile.capture.from_onnx.model import OnnxModel
from mpccompile.errors import UnsupportedOp
from mpccompile.ir.verify import verify
from mpccompile.lowering.lower import lower
from tests.capture.from_onnx.cases import file_of
from tests.capture.from_onnx.exported import answer_of

FEATURES = 5
RANDOM = np.random.default_rng(0)
X = (2 * RANDOM.normal(size=(60, FEATURES)) + 1).astype(np.float32)
TARGETS = X @ RANDOM.normal(size=(FEATURES, 2))
TARGETS = (TARGETS - TARGETS.mean(0)) / TARGETS.std(0)
Y = TARGETS[:, 0]
CLASSES = TARGETS.argmax(1) + (Y > 1)
ROWS = {"X": torch.from_numpy(X[:4])}
NEAR = 1e-4


def network(activation="relu", kind=MLPRegressor):
    return kind(hidden_layer_sizes=(8, 6), activation=activation, solver="lbfgs", max_iter=20, random_state=0)


MODELS = {
    "a network": (network(), Y),
    "a network of tanh": (network("tanh"), Y),
    "scaled by its deviation": (make_pipeline(StandardScaler(), network("logistic")), Y),
    "scaled, not shifted": (make_pipeline(StandardScaler(with_mean=False), network()), Y),
    "scaled by its quantiles": (make_pipeline(RobustScaler(), network()), Y),
    "scaled by its range": (make_pipeline(MinMaxScaler(), network()), Y),
    "rows of length one": (make_pipeline(Normalizer(), network()), Y),
    "rows of sum one": (make_pipeline(Normalizer("l1"), network()), Y),
    "main components": (make_pipeline(PCA(3), network()), Y),
    "a linear model": (LinearRegression(), Y),
    "a linear model of two targets": (make_pipeline(StandardScaler(), Ridge()), TARGETS),
}


def converted(path, model, labels, **options):
    """Train a model, and write it as skl2onnx does."""
    with warnings.catch_warnings():
        # It has not converged, and need not.
        warnings.simplefilter("ignore")
        model.fit(X, labels)
        onnx.save(to_onnx(model, X[:1], options={id(model): options} if options else None), path)
    return path


def difference(program, wanted):
    (answer,) = program.module(*program.example_inputs)
    assert answer.shape == wanted.shape
    return float((answer.detach() - wanted).abs().max())


@pytest.mark.parametrize("name", MODELS)
def test_a_model_answers_as_onnxruntime_does(tmp_path, name):
    path = converted(tmp_path / "model.onnx", *MODELS[name])
    (wanted,) = answer_of(path, ROWS)
    program = lower(capture(OnnxModel.read(path), ROWS))
    verify(program)
    assert difference(program, wanted) < NEAR


def test_a_model_runs_privately(tmp_path):
    path = converted(tmp_path / "model.onnx", *MODELS["scaled by its deviation"])
    (wanted,) = answer_of(path, ROWS)
    with mpccompile.compile(path, example_inputs=ROWS) as private:
        answer = private(**ROWS)["variable"]
    assert float((answer - wanted).abs().max()) < 1e-2


def test_what_a_scaler_has_learned_is_secret(tmp_path):
    path = converted(tmp_path / "model.onnx", *MODELS["scaled by its deviation"])
    program = capture(OnnxModel.read(path), ROWS)
    stored = {node.target: node for node in program.graph.nodes if node.op == "get_attr"}
    learned = {name for name in stored if name.endswith(("offset", "scale"))}
    assert len(learned) == 2
    assert learned <= program.secret_attributes


def test_learned_numbers_get_a_name_that_no_stored_tensor_has(tmp_path):
    nodes = [
        helper.make_node("Scaler", ["X"], ["y"], domain="ai.onnx.ml", offset=[1.0, 2.0], scale=[3.0]),
        helper.make_node("Mul", ["y", "y.scale"], ["z"]),
    ]
    path = file_of(tmp_path / "m.onnx", nodes, {"X": [1, 2]}, ["z"], {"y.scale": np.array([5, 7], dtype=np.float32)})
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    onnx.save(model, path)
    answer = OnnxModel.read(path)(X=torch.tensor([[3.0, 3.0]]))["z"]
    torch.testing.assert_close(answer, torch.tensor([[30.0, 21.0]]))


def test_an_attribute_without_numbers_is_one_that_is_left_out(tmp_path):
    node = helper.make_node("Scaler", ["X"], ["y"], domain="ai.onnx.ml", scale=[3.0])
    node.attribute.append(helper.make_attribute("offset", [], attr_type=onnx.AttributeProto.FLOATS))
    path = file_of(tmp_path / "m.onnx", [node], {"X": [1, 2]}, ["y"], {})
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    onnx.save(model, path)
    answer = OnnxModel.read(path)(X=torch.tensor([[1.0, 2.0]]))["y"]
    torch.testing.assert_close(answer, torch.tensor([[3.0, 6.0]]))


def test_a_classifier_is_refused_with_what_to_take_out_and_compiles_without_it(tmp_path):
    model = network(kind=MLPClassifier)
    with pytest.raises(UnsupportedOp) as refused:
        OnnxModel.read(converted(tmp_path / "model.onnx", model, CLASSES))
    said = str(refused.value)
    assert "ai.onnx.ml.ZipMap at ZipMap: its answer is no tensor; convert with options={'zipmap': False}" in said
    assert "ai.onnx.ml.ArrayFeatureExtractor at ArrayFeatureExtractor: a label is looked up" in said
    path = converted(tmp_path / "plain.onnx", model, CLASSES, zipmap=False)
    file = onnx.load(path)
    (label,) = [value for value in file.graph.output if value.name == "label"]
    file.graph.output.remove(label)
    onnx.save(file, path)
    (wanted,) = answer_of(path, ROWS)
    assert difference(lower(capture(OnnxModel.read(path), ROWS)), wanted) < NEAR


def test_a_tree_is_refused_by_its_name(tmp_path):
    path = converted(tmp_path / "model.onnx", DecisionTreeRegressor(max_depth=2), Y)
    with pytest.raises(UnsupportedOp, match=r"ai\.onnx\.ml\.TreeEnsemble\w* at "):
        OnnxModel.read(path)
