"""ONNX's own test cases of single operators, and files made by hand."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases
from torch import Tensor

from mpccompile.capture.from_onnx.graph import graph_of
from mpccompile.capture.from_onnx.load import Source
from mpccompile.capture.from_onnx.model import OnnxModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx.backend.test.case.test_case import TestCase

FLOAT = onnx.TensorProto.FLOAT
INT64 = onnx.TensorProto.INT64
# Results beside the first one that are not computed; a file that uses them is refused.
FIRST_ONLY = ("LayerNormalization", "MaxPool")


@functools.cache
def documented() -> dict[str, list[TestCase]]:
    """Return the cases of one node of ONNX's own operators on numbers, by operator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    found: dict[str, list[TestCase]] = {}
    for case in cases:
        nodes = case.model.graph.node
        if len(nodes) == 1 and nodes[0].domain == "" and all(array_of(x) is not None for x in case.data_sets[0][0]):
            found.setdefault(nodes[0].op_type, []).append(case)
    return found


def array_of(value: object) -> np.ndarray | None:
    """Return numbers of a case as an array; None for texts, sequences and types that torch has not."""
    if isinstance(value, onnx.TensorProto):
        value = numpy_helper.to_array(value)
    if not isinstance(value, np.ndarray | np.generic):
        return None
    array = np.asarray(value)
    return array if array.dtype.kind in "fiub" or str(array.dtype) == "bfloat16" else None


def tensor_of(value: np.ndarray) -> Tensor:
    """Return an array in the dtype it is computed in."""
    if value.dtype.kind == "f" or str(value.dtype) == "bfloat16":
        return torch.from_numpy(np.array(value, dtype=np.float32))
    return torch.from_numpy(np.array(value, dtype=np.int64 if value.dtype.kind == "u" and value.itemsize > 1 else None))


def model_of(case: TestCase, inputs: int | None = None) -> tuple[OnnxModel, dict[str, Tensor]]:
    """Return a case as a model and its inputs.

    Floats are inputs, the first ``inputs`` of them where a number is given; all else is stored in the file, as
    exporters store shapes and weights.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(case.model)
    graph, given = proto.graph, {}
    if graph.node[0].op_type in FIRST_ONLY:
        del graph.output[1:]
    arrays = [array for value in case.data_sets[0][0] if (array := array_of(value)) is not None]
    for value, array in zip(list(graph.input), arrays, strict=True):
        is_input = array.dtype.kind == "f" and array.size > 1 and (inputs is None or len(given) < inputs)
        if is_input:
            given[value.name] = tensor_of(array)
        else:
            graph.initializer.append(numpy_helper.from_array(array, value.name))
    opset = proto.opset_import[0].version
    model = made(graph, opset)
    return model, {argument: given[file] for argument, file in model.inputs.items()}


def made(graph: onnx.GraphProto, opset: int = 20, path: Path | None = None) -> OnnxModel:
    """Return a graph as a model, without a file."""
    return OnnxModel(Source(graph_of(graph), opset, path or Path("model.onnx")))


def file_of(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, Sequence[int | str]],
    outputs: Sequence[str],
    stored: dict[str, np.ndarray],
    opset: int = 20,
    types: dict[str, int] | None = None,
) -> Path:
    """Write a file made by hand; inputs are floats unless ``types`` says otherwise, and outputs of any shape."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(name, (types or {}).get(name, FLOAT), shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, (types or {}).get(name, FLOAT), None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in stored.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path
