"""An ONNX graph as plain data, its stored tensors left where they are until they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import onnx
from torch import Tensor

from mpccompile.capture.from_onnx.constants import is_public
from mpccompile.capture.from_onnx.learned import learned
from mpccompile.capture.from_onnx.origins import origin_of
from mpccompile.capture.from_onnx.tensors import from_proto, short
from mpccompile.errors import CaptureFailed
from mpccompile.ir.program import Origin

DEFAULT_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class Node:
    """One node.

    Attributes:
        name: What errors call it.
        op: The operator, with its domain in front where that is not ONNX's own: ``com.microsoft.FastGelu``.
        inputs: Names of values; empty where an optional one is left out.
        outputs: As ``inputs``.
        attributes: Numbers, texts, lists, tensors, and a :class:`Graph` for each branch.
        origin: The module of the exported model it came from, and its name.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    origin: Origin = field(default_factory=Origin)


@dataclass(frozen=True)
class Axis:
    """One dim of an input: its size, or the name it has where it is left open."""

    size: int | None
    name: str = ""


@dataclass(frozen=True)
class Value:
    """An input or output as the file declares it; ``axes`` is None where no shape is declared."""

    name: str
    element_type: int
    axes: tuple[Axis, ...] | None


@dataclass(frozen=True)
class Graph:
    """A graph, or a branch of one.

    Attributes:
        inputs: What a caller gives; stored tensors that are listed as inputs too are not among them.
        outputs: Names of what it returns.
        nodes: In an order in which each can be computed.
        stored: Tensors of the file by name, those of Constant nodes and learned attributes included.
        literals: Names of those that stand in Constant nodes.
        folder: Where external data is.
    """

    inputs: tuple[Value, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    stored: Mapping[str, onnx.TensorProto]
    literals: frozenset[str] = frozenset()
    folder: str = ""

    def tensors(self) -> dict[str, Tensor]:
        """Read the stored tensors that a node, or a branch of one, asks for."""
        wanted = {name for node in self.nodes for name in reads(node)} | set(self.outputs)
        return {name: from_proto(tensor, self.folder) for name, tensor in self.stored.items() if name in wanted}

    def without_data(self) -> Graph:
        """Return the graph with the names, types and shapes of its stored tensors alone: the data is read by then."""
        stored = {
            name: onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
            for name, tensor in self.stored.items()
        }
        return replace(self, stored=stored)

    def is_public(self, name: str, value: Tensor) -> bool:
        """Say whether a stored tensor is a constant that both parties may know."""
        return is_public(name, value, literal=name in self.literals)


def graph_of(proto: onnx.GraphProto, folder: str = "") -> Graph:
    """Read a graph whose local functions are inlined."""
    stored = {tensor.name: tensor for tensor in proto.initializer}
    inputs = tuple(_value(each) for each in proto.input if each.name not in stored)
    literals = {each.output[0]: _literal(each) for each in proto.node if each.op_type == "Constant"}
    stored |= literals
    nodes = []
    for each in proto.node:
        if each.op_type != "Constant":
            weights = learned(each, stored)
            nodes.append(_node(each, folder, weights))
            stored |= {tensor.name: tensor for tensor in weights.values() if tensor is not None}
    outputs = tuple(each.name for each in proto.output)
    return Graph(inputs, outputs, tuple(nodes), stored, frozenset(literals), folder)


def _literal(proto: onnx.NodeProto) -> onnx.TensorProto:
    """Return what a Constant node holds, which may be numbers instead of a tensor."""
    (attribute,) = [each for each in proto.attribute if each.name.startswith("value")] or [None]
    kind = _LITERALS.get(attribute.type) if attribute is not None else None
    if attribute is None or (kind is None and attribute.type != onnx.AttributeProto.TENSOR):
        raise CaptureFailed("a Constant node holds texts or a sparse tensor", where=f"node {proto.name}")
    if kind is None:
        held: onnx.TensorProto = attribute.t
        return held
    value = onnx.helper.get_attribute_value(attribute)
    numbers = list(value) if isinstance(value, Sequence) else [value]
    shape = [len(numbers)] if isinstance(value, Sequence) else []
    return onnx.helper.make_tensor(proto.output[0], kind, shape, numbers)


_LITERALS = {
    onnx.AttributeProto.FLOAT: onnx.TensorProto.FLOAT,
    onnx.AttributeProto.FLOATS: onnx.TensorProto.FLOAT,
    onnx.AttributeProto.INT: onnx.TensorProto.INT64,
    onnx.AttributeProto.INTS: onnx.TensorProto.INT64,
}


def _value(proto: onnx.ValueInfoProto) -> Value:
    kind = proto.type.tensor_type
    if not kind.HasField("shape"):
        return Value(proto.name, kind.elem_type, None)
    axes = tuple(
        Axis(dim.dim_value) if dim.HasField("dim_value") else Axis(None, dim.dim_param) for dim in kind.shape.dim
    )
    return Value(proto.name, kind.elem_type, axes)


def _node(proto: onnx.NodeProto, folder: str, weights: Mapping[str, onnx.TensorProto | None]) -> Node:
    op = proto.op_type if proto.domain in DEFAULT_DOMAINS else f"{proto.domain}.{proto.op_type}"
    name = proto.name or f"{proto.op_type} of {next(filter(None, proto.output), 'nothing')}"
    attributes = {each.name: _attribute(each, folder) for each in proto.attribute if each.name not in weights}
    inputs = (*proto.input, *("" if tensor is None else tensor.name for tensor in weights.values()))
    return Node(name, op, inputs, tuple(proto.output), attributes, origin_of(proto, name))


def _attribute(proto: onnx.AttributeProto, folder: str) -> Any:
    if proto.type == onnx.AttributeProto.TENSOR:
        return from_proto(proto.t, folder)
    if proto.type == onnx.AttributeProto.GRAPH:
        return graph_of(proto.g, folder)
    value = onnx.helper.get_attribute_value(proto)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float):
        return short(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [each.decode("utf-8", "replace") if isinstance(each, bytes) else each for each in value]
    return value


def needed(nodes: Sequence[Node], outputs: Sequence[str]) -> tuple[Node, ...]:
    """Return the nodes that the outputs depend on."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted & set(filter(None, node.outputs)):
            kept.append(node)
            wanted.update(reads(node))
    return tuple(reversed(kept))


def reads(node: Node) -> set[str]:
    """Return the names of the values a node reads, those its branches read from around them included."""
    found = {name for name in node.inputs if name}
    for branch in branches(node):
        made = {name for inner in branch.nodes for name in inner.outputs} | set(branch.stored)
        read = {name for inner in branch.nodes for name in reads(inner)} | set(branch.outputs)
        found |= read - made
    return found


def branches(node: Node) -> list[Graph]:
    """Return the graphs inside a node."""
    return [value for value in node.attributes.values() if isinstance(value, Graph)]
