"""Rewrites of an ONNX graph whose reason is lost once its nodes are calls of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mpccompile.capture.from_onnx.tensors import from_proto

if TYPE_CHECKING:
    from mpccompile.capture.from_onnx.graph import Graph, Node

INTERNAL = "mpccompile."
"""What the operators begin with that no file has."""
SAFE_SOFTMAX = f"{INTERNAL}SafeSoftmax"
PADDING = f"{INTERNAL}Padding"
NO_PADDING = f"{INTERNAL}NoPadding"
_STEPS = 6


def join_softmax(graph: Graph) -> Graph:
    """Read a softmax that is written out as one call: onnxruntime's optimiser does so to those in float16.

    before: ``e = Exp(Sub(x, ReduceMax(x)))``, ``Div(e, ReduceSum(e))``
    after: ``Softmax(x)``
    """
    makers = {name: node for node in graph.nodes for name in node.outputs}
    return replace(graph, nodes=tuple(_as_softmax(graph, node, makers) or node for node in graph.nodes))


def _as_softmax(graph: Graph, node: Node, makers: Mapping[str, Node]) -> Node | None:
    def made(name: str, op: str) -> Node | None:
        maker = makers.get(name)
        return maker if maker is not None and maker.op == op else None

    if node.op != "Div":
        return None
    exp, total = (made(name, op) for name, op in zip(node.inputs, ("Exp", "ReduceSum"), strict=True))
    if exp is None or total is None or total.inputs[0] != node.inputs[0]:
        return None
    shifted = made(exp.inputs[0], "Sub")
    largest = None if shifted is None else made(shifted.inputs[1], "ReduceMax")
    if shifted is None or largest is None or largest.inputs[0] != shifted.inputs[0]:
        return None
    axes = _axes(graph, largest)
    if len(axes) != 1 or axes != _axes(graph, total):
        return None
    return replace(node, op="Softmax", inputs=shifted.inputs[:1], attributes={"axis": axes[0]})


def _axes(graph: Graph, node: Node) -> list[int]:
    """Return the axes that a node reduces and keeps; none where they are not known here."""
    if not node.attributes.get("keepdims", 1):
        return []
    if "axes" in node.attributes:
        return list(node.attributes["axes"])
    stored = graph.stored.get(node.inputs[1]) if len(node.inputs) > 1 else None
    return [] if stored is None else [int(axis) for axis in from_proto(stored, graph.folder).flatten().tolist()]


def join_safe_softmax(graph: Graph) -> Graph:
    """Read a softmax that is followed by a test for rows of -inf alone as one call.

    before: ``s = Softmax(x)``, ``Where(IsNaN(s), 0, s)``
    after: ``SafeSoftmax(x)``
    """
    makers = {name: node for node in graph.nodes for name in node.outputs}
    safe: dict[str, str] = {}
    for node in graph.nodes:
        test = makers.get(node.inputs[0]) if node.op == "Where" else None
        if test is not None and test.op == "IsNaN" and test.inputs[0] == node.inputs[2]:
            softmax = makers.get(test.inputs[0])
            if softmax is not None and softmax.op == "Softmax":
                safe[node.outputs[0]] = softmax.outputs[0]
    return replace(graph, nodes=tuple(_joined(node, safe, makers) for node in graph.nodes))


def _joined(node: Node, safe: Mapping[str, str], makers: Mapping[str, Node]) -> Node:
    if node.outputs[0] in safe:
        softmax = makers[safe[node.outputs[0]]]
        return replace(softmax, op=SAFE_SOFTMAX, outputs=node.outputs)
    return node


def number_by_mask(graph: Graph, ids: Sequence[str], mask: str | None) -> Graph:
    """Count tokens by the mask instead of by secret ids, as RoBERTa's position ids do.

    before: ``CumSum(Cast(Not(Equal(input_ids, padding))))``
    after: ``CumSum(Cast(Not(Equal(attention_mask, 0))))``; without a mask, as if no token were padding
    """
    users: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            users.setdefault(name, []).append(node)
    return replace(graph, nodes=tuple(_numbered(node, set(ids), mask, users) for node in graph.nodes))


def _numbered(node: Node, ids: set[str], mask: str | None, users: Mapping[str, list[Node]]) -> Node:
    if node.op != "Equal" or not ids & set(node.inputs) or not _leads_to_count(node, users, _STEPS):
        return node
    if mask is not None:
        return replace(node, op=PADDING, inputs=(mask,))
    return replace(node, op=NO_PADDING, inputs=tuple(ids & set(node.inputs)))


def _leads_to_count(node: Node, users: Mapping[str, list[Node]], steps: int) -> bool:
    if node.op == "CumSum":
        return True
    if steps == 0 or node.op not in {"Equal", "Not", "Cast", "Identity", "Where"}:
        return False
    return any(_leads_to_count(user, users, steps - 1) for name in node.outputs for user in users.get(name, ()))
