"""Inputs that look like real ones, for a model that comes without any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mpccompile.capture.from_onnx.graph import Axis
from mpccompile.capture.from_onnx.shapes import Shapes, bound_shapes, told_shapes
from mpccompile.errors import InputError

if TYPE_CHECKING:
    from mpccompile.capture.from_onnx.graph import Graph, Node
    from mpccompile.capture.from_onnx.model import OnnxModel

_PASSES = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Expand", "Slice", "Where"})
_FEW = 2
COUNT = 4
"""How many batches calibrate the ranges of values."""


def made_up(model: OnnxModel, shapes: Shapes, count: int = COUNT) -> list[dict[str, Tensor]]:
    """Return batches of made-up inputs.

    Token ids are spread over the table that is looked up with them; masks hide nothing; positions count up; segments
    are the first; anything else is drawn from a normal distribution.

    Raises:
        InputError: If a dim of an input is open.
    """
    sizes = bound_shapes(model.graph.inputs, model.inputs, shapes)
    tables = _tables(model.graph)
    generator = torch.Generator().manual_seed(0)

    def made(argument: str) -> Tensor:
        file = model.inputs[argument]
        return _made(argument.lower(), sizes[argument], model.types[argument], tables.get(file, _FEW), generator)

    return [{argument: made(argument) for argument in model.inputs} for _ in range(count)]


def from_arrays(model: OnnxModel, shapes: Shapes, arrays: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return arrays of many rows as batches of the shapes that are asked for; rows that fill no batch are left out.

    An open dim is as large as in the arrays, but for the first one, of which a batch has one row.

    Raises:
        InputError: If an input is missing, of another kind of number, or its rows have another shape.
    """
    named = {argument: arrays.get(file, arrays.get(argument)) for argument, file in model.inputs.items()}
    missing = [argument for argument, array in named.items() if array is None]
    if missing:
        raise InputError(
            f"input {', '.join(missing)} is missing",
            where="--data",
            hint=f"The file holds {', '.join(arrays) or 'nothing'}.",
        )
    held = {argument: array for argument, array in named.items() if array is not None}
    for argument, array in held.items():
        _check_kind(argument, array.dtype, model.types[argument])
    sizes = bound_shapes(model.graph.inputs, model.inputs, _shapes_of(model, held, shapes))
    counts = []
    for argument, array in held.items():
        size = sizes[argument]
        if array.shape[1:] != size[1:] or (size and len(array) < size[0]):
            raise InputError(
                f"input {argument} has shape {list(array.shape)} in the data, a call takes {list(size)}",
                where="--data",
                hint="Pad its rows to one length, or change --input-shape.",
            )
        counts.append(len(array) // size[0] if size else 1)
    return [
        {argument: _rows_of(array, sizes[argument], index, model.types[argument]) for argument, array in held.items()}
        for index in range(min(counts))
    ]


def _shapes_of(model: OnnxModel, arrays: Mapping[str, Tensor], given: Shapes) -> dict[str, list[int]]:
    """Return the shape of each input: what is given, then what the file says, then what the arrays have."""
    shapes, sizes = told_shapes(model.graph.inputs, model.inputs, given)
    for argument, array in arrays.items():
        (value,) = [each for each in model.graph.inputs if each.name == model.inputs[argument]]
        axes = value.axes if value.axes is not None else (Axis(None),) * array.dim()
        if argument not in shapes and len(axes) == array.dim():
            own = [1, *array.shape[1:]] if axes else []
            shapes[argument] = [
                sizes.get(axis.name, size) if axis.size is None else axis.size
                for axis, size in zip(axes, own, strict=True)
            ]
    return shapes


def _check_kind(argument: str, held: torch.dtype, taken: torch.dtype) -> None:
    """Refuse what would be cut off: the fractions of ids, the imaginary part of a number."""
    if not torch.can_cast(held, taken):
        told, wanted = (str(dtype).removeprefix("torch.") for dtype in (held, taken))
        raise InputError(
            f"input {argument} is {told} in the data, and the model takes {wanted}",
            where="--data",
            hint=f"Convert it with .astype({wanted!r}).",
        )


def _rows_of(array: Tensor, size: Sequence[int], index: int, dtype: torch.dtype) -> Tensor:
    return (array[index * size[0] : (index + 1) * size[0]] if size else array).to(dtype)


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
    return {value.name: min(found) for value in graph.inputs if (found := _table_rows(value.name, graph, users, set()))}


def _table_rows(name: str, graph: Graph, users: Mapping[str, list[Node]], seen: set[str]) -> list[int]:
    if name in seen:
        return []
    seen.add(name)
    found = []
    for node in users.get(name, ()):
        table = graph.stored.get(_table(node, name))
        if table is not None:
            found.append(table.dims[0])
        elif node.op in _PASSES:
            found.extend(rows for output in node.outputs for rows in _table_rows(output, graph, users, seen))
    return found


def _table(node: Node, ids: str) -> str:
    """Return the name of the table a node reads at places."""
    if node.op == "Gather" and node.inputs[1] == ids and not node.attributes.get("axis", 0):
        return node.inputs[0]
    if node.op == "com.microsoft.EmbedLayerNormalization" and ids in node.inputs[:2]:
        return node.inputs[2] if node.inputs[0] == ids else node.inputs[4]
    return ""
