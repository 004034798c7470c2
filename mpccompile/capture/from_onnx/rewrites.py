"""Rewrites of an ONNX graph whose reason is lost once its nodes are calls of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mpccompile.capture.from_onnx.graph import Graph, Node

INTERNAL = "mpccompile."
"""What the operators begin with that no file has."""
SAFE_SOFTMAX = f"{INTERNAL}SafeSoftmax"
PADDING = f"{INTERNAL}Padding"
NO_PADDING = f"{INTERNAL}NoPadding"
_STEPS = 6


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
