"""Inputs that look like real ones, for a model that comes without any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mpccompile.capture.from_onnx.shapes import Shapes, bound_shapes
from mpccompile.capture.from_onnx.tensors import dtype_of

if TYPE_CHECKING:
    from mpccompile.capture.from_onnx.graph import Graph, Node
    from mpccompile.capture.from_onnx.model import OnnxModel

_PASSES = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Expand", "Slice", "Where"})
_FEW = 2


def example_inputs(model: OnnxModel, shapes: Shapes, count: int = 1) -> list[dict[str, Tensor]]:
    """Return batches of made-up inputs.

    Token ids are spread over the table that is looked up with them; masks hide nothing; positions count up; segments
    are the first; anything else is drawn from a normal distribution.

    Raises:
        InputError: If a dim of an input is open.
    """
    sizes = bound_shapes(model.graph.inputs, model.inputs, shapes)
    tables = _tables(model.graph)
    generator = torch.Generator().manual_seed(0)
    types = {value.name: value.element_type for value in model.graph.inputs}

    def made(argument: str) -> Tensor:
        file = model.inputs[argument]
        dtype = dtype_of(types[file], f"input {file}")
        return _made(argument.lower(), sizes[argument], dtype, tables.get(file, _FEW), generator)

    return [{argument: made(argument) for argument in model.inputs} for _ in range(count)]


def _made(name: str, shape: Sequence[int], dtype: torch.dtype, rows: int, generator: torch.Generator) -> Tensor:
    if "mask" in name or dtype == torch.bool:
        return torch.ones(tuple(shape), dtype=dtype)
    if dtype.is_floating_point:
        return torch.randn(tuple(shape), generator=generator, dtype=dtype)
    if "position" in name and shape:
        return (torch.arange(shape[-1]) % rows).expand(tuple(shape)).to(dtype)
    if "type" in name or "segment" in name:
        return torch.zeros(tuple(shape), dtype=dtype)
    return torch.randint(0, rows, tuple(shape), generator=generator).to(dtype)


def _tables(graph: Graph) -> dict[str, int]:
    """Return how many rows the smallest table has that is looked up with each input."""
    users: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            users.setdefault(name, []).append(node)
    return {value.name: min(found) for value in graph.inputs if (found := _rows(value.name, graph, users, set()))}


def _rows(name: str, graph: Graph, users: Mapping[str, list[Node]], seen: set[str]) -> list[int]:
    if name in seen:
        return []
    seen.add(name)
    found = []
    for node in users.get(name, ()):
        table = graph.stored.get(_table(node, name))
        if table is not None:
            found.append(table.dims[0])
        elif node.op in _PASSES:
            found.extend(rows for output in node.outputs for rows in _rows(output, graph, users, seen))
    return found


def _table(node: Node, ids: str) -> str:
    """Return the name of the table a node reads at places."""
    if node.op == "Gather" and node.inputs[1] == ids and not node.attributes.get("axis", 0):
        return node.inputs[0]
    if node.op == "com.microsoft.EmbedLayerNormalization" and ids in node.inputs[:2]:
        return node.inputs[2] if node.inputs[0] == ids else node.inputs[4]
    return ""
