"""Operators of onnxruntime's own answer as onnxruntime does, and are private."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from mpccompile.capture.from_onnx.capture import capture
from mpccompile.capture.from_onnx.families import OPERATORS
from mpccompile.capture.from_onnx.model import OnnxModel
from mpccompile.errors import UnsupportedOp
from mpccompile.ir.verify import verify
from mpccompile.lowering.lower import lower
from tests.capture.from_onnx.cases import INT64, file_of
from tests.capture.from_onnx.exported import answer_of

CONTRIB = "com.microsoft"
INT32 = onnx.TensorProto.INT32
BATCH, LENGTH, WIDTH, HEADS, ROWS = 2, 4, 8, 2, 11
RANDOM = np.random.default_rng(0)


def numbers(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


MASK = np.array([[1, 1, 1, 0], [1, 1, 1, 1]], dtype=np.int32)
CAUSAL = {"num_heads": HEADS, "unidirectional": 1}
VECTORS = {"weight": numbers(WIDTH), "bias": numbers(WIDTH)}
QKV = {"weights": numbers(WIDTH, 3 * WIDTH), "bias": numbers(3 * WIDTH)}
TABLES = {"words": numbers(ROWS, WIDTH), "places": numbers(LENGTH, WIDTH), "kinds": numbers(2, WIDTH), **VECTORS}
SQUARE = {"square": numbers(WIDTH, WIDTH), "bias": VECTORS["bias"]}
FILTERS = {"filters": numbers(5, 3, 3, 3), "shifts": numbers(5)}
TURNS = {"cosines": numbers(LENGTH, WIDTH // HEADS // 2), "sines": numbers(LENGTH, WIDTH // HEADS // 2)}

# By name of the case: the operator, its operands in order, which of them are stored in the file, its attributes.
CASES = {
    "Gelu": ("Gelu", ["x"], {}, {}),
    "QuickGelu": ("QuickGelu", ["x"], {}, {"alpha": 1.5}),
    "FastGelu": ("FastGelu", ["x"], {}, {}),
    "FastGelu with a bias": ("FastGelu", ["x", "bias"], VECTORS, {}),
    "BiasGelu": ("BiasGelu", ["x", "bias"], VECTORS, {}),
    "FusedMatMul": ("FusedMatMul", ["x", "y"], {}, {"transB": 1, "alpha": 0.5}),
    "FusedMatMul of scores": ("FusedMatMul", ["x", "y"], {}, {"transBatchA": 1, "transBatchB": 1, "transB": 1}),
    "FusedMatMul of columns": ("FusedMatMul", ["x", "y"], {}, {"transBatchA": 1, "transBatchB": 1, "transA": 1}),
    "FusedGemm": ("FusedGemm", ["rows", "square", "bias"], SQUARE, {"transB": 1, "activation": "Tanh"}),
    "FusedGemm with a number": (
        "FusedGemm",
        ["rows", "square", "bias"],
        SQUARE,
        {"alpha": 0.5, "activation": "LeakyRelu", "activation_alpha": 0.3},
    ),
    "FusedConv": ("FusedConv", ["image", "filters", "shifts"], FILTERS, {"pads": [1] * 4, "activation": "Relu"}),
    "FusedConv between bounds": (
        "FusedConv",
        ["image", "filters"],
        FILTERS,
        {"strides": [2, 2], "activation": "Clip", "activation_params": [-0.2, 0.3]},
    ),
    "FusedConv of a sum": (
        "FusedConv",
        ["image", "filters", "shifts", "added"],
        FILTERS,
        {"activation": "Sigmoid"},
    ),
    "SkipLayerNormalization": ("SkipLayerNormalization", ["x", "y", "weight", "bias"], VECTORS, {"epsilon": 1e-3}),
    "SkipLayerNormalization with two biases": (
        "SkipLayerNormalization",
        ["x", "y", "weight", "bias", "more"],
        {**VECTORS, "more": numbers(WIDTH)},
        {},
    ),
    "SkipSimplifiedLayerNormalization": ("SkipSimplifiedLayerNormalization", ["x", "y", "weight"], VECTORS, {}),
    "Attention": ("Attention", ["x", "weights", "bias"], QKV, {"num_heads": HEADS}),
    "Attention with a mask": ("Attention", ["x", "weights", "bias", "mask"], QKV, {"num_heads": HEADS}),
    "Attention that is causal": ("Attention", ["x", "weights", "bias"], QKV, CAUSAL),
    "MultiHeadAttention": ("MultiHeadAttention", ["x", "y", "z", "bias"], QKV, {"num_heads": HEADS, "scale": 0.3}),
    "EmbedLayerNormalization": (
        "EmbedLayerNormalization",
        ["ids", "segments", "words", "places", "kinds", "weight", "bias"],
        TABLES,
        {},
    ),
    "RotaryEmbedding": ("RotaryEmbedding", ["x", "first", "cosines", "sines"], TURNS, {"num_heads": HEADS}),
    "RotaryEmbedding of pairs": ("RotaryEmbedding", ["x", "first", "cosines", "sines"], TURNS, {"interleaved": 1}),
}
# Written by the optimiser for operators of which onnxruntime runs another name, or none by itself.
NOT_ALONE = {"SimplifiedLayerNormalization", "TransposeMatMul"}


def inputs_of(names, stored):
    made = {
        "mask": torch.from_numpy(MASK),
        "ids": torch.tensor([[1, 2, 3, 4], [5, 6, 10, 0]], dtype=torch.int32),
        "segments": torch.tensor([[0, 0, 1, 1], [0, 0, 0, 0]], dtype=torch.int32),
        "first": torch.tensor([0]),
        "rows": torch.from_numpy(numbers(3, WIDTH)),
        "image": torch.from_numpy(numbers(2, 3, 5, 5)),
        "added": torch.from_numpy(numbers(2, 5, 3, 3)),
    }
    return {
        name: made.get(name, torch.from_numpy(numbers(BATCH, LENGTH, WIDTH))) for name in names if name not in stored
    }


@pytest.mark.parametrize("case", CASES)
def test_an_operator_answers_as_in_onnxruntime(tmp_path, case):
    op, names, stored, attributes = CASES[case]
    stored = {name: array for name, array in stored.items() if name in names}
    inputs = inputs_of(names, stored)
    outputs = ["answer", "lengths"] if op == "EmbedLayerNormalization" else ["answer"]
    node = helper.make_node(op, names, outputs, "node", domain=CONTRIB, **attributes)
    types = {"mask": INT32, "ids": INT32, "segments": INT32, "first": INT64}
    shapes = {name: list(value.shape) for name, value in inputs.items()}
    path = file_of(tmp_path / "model.onnx", [node], shapes, ["answer"], stored, types=types)
    (wanted,) = answer_of(path, inputs)
    program = lower(capture(OnnxModel.read(path), inputs))
    verify(program)
    (answer,) = program.module(*program.example_inputs)
    torch.testing.assert_close(answer.detach(), wanted, rtol=1e-4, atol=1e-4)


def test_every_operator_has_a_case():
    names = {name.removeprefix(f"{CONTRIB}.") for name in OPERATORS if name.startswith(CONTRIB)}
    assert names - NOT_ALONE == {op for op, *_ in CASES.values()}


@pytest.mark.parametrize("name", ["com.microsoft.SimplifiedLayerNormalization", "SimplifiedLayerNormalization"])
def test_the_optimisers_rms_norm_is_onnxs(name):
    assert OPERATORS[name].rule is OPERATORS["RMSNormalization"].rule


def test_an_activation_that_is_not_known_is_refused(tmp_path):
    node = helper.make_node("FusedGemm", ["rows", "square"], ["answer"], domain=CONTRIB, activation="Softplus")
    path = file_of(tmp_path / "model.onnx", [node], {"rows": [3, WIDTH]}, ["answer"], {"square": SQUARE["square"]})
    with pytest.raises(UnsupportedOp, match="the activation Softplus in it is not known"):
        OnnxModel.read(path).bound({"rows": torch.zeros(3, WIDTH)})


def test_what_an_attention_keeps_in_a_cache_is_refused(tmp_path):
    node = helper.make_node("Attention", ["x", "weights", "bias", "", "past"], ["answer"], domain=CONTRIB, num_heads=2)
    past = numbers(2, BATCH, HEADS, 3, WIDTH // HEADS)
    shapes = {"x": [BATCH, LENGTH, WIDTH]}
    path = file_of(tmp_path / "model.onnx", [node], shapes, ["answer"], {**QKV, "past": past})
    with pytest.raises(UnsupportedOp, match="a cache"):
        OnnxModel.read(path).bound({"x": torch.zeros(BATCH, LENGTH, WIDTH)})
