"""Say at once everything in a graph that has no rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mpccompile.capture.from_onnx.families import OPERATORS
from mpccompile.capture.from_onnx.graph import branches
from mpccompile.errors import UnsupportedOp

if TYPE_CHECKING:
    from mpccompile.capture.from_onnx.graph import Node

BRANCH = "If"
_REASONS = {
    "Loop": "a loop whose length depends on values cannot be unrolled",
    "Scan": "a scan cannot be unrolled",
    "RandomNormal": "it is random",
    "RandomUniform": "it is random",
    "RandomNormalLike": "it is random",
    "RandomUniformLike": "it is random",
    "Bernoulli": "it is random",
    "Multinomial": "it is random",
    "ai.onnx.ml.ZipMap": "its answer is no tensor; convert with options={'zipmap': False}",
    "ai.onnx.ml.ArrayFeatureExtractor": "a label is looked up; take the label out of the file's outputs",
}
_QUANTISED = ("uantize", "QLinear", "QAttention", "QGemm", "Integer", "NBits", "QOrdered", "QMoE", "BnbMatMul")
_BLOCKED = "com.microsoft.nchwc."
_MOST_PLACES = 3


def check_supported(nodes: Sequence[Node]) -> None:
    """Refuse a graph with operators that have no rule.

    Those of branches alone are no reason yet: it is not known which one is taken. The list has them all the same.

    Raises:
        UnsupportedOp: With every missing operator, how often it occurs, and where.
    """
    if all(_has_rule(node) for node in nodes):
        return
    missing: dict[str, list[Node]] = {}
    for node in _everywhere(nodes):
        if not _has_rule(node):
            missing.setdefault(node.op, []).append(node)
    quantised = [node for op, places in missing.items() if _is_quantised(op) for node in places]
    if quantised:
        raise UnsupportedOp(
            f"the file is quantised: {len(quantised)} nodes such as {_places(quantised)}",
            hint="Export the model in float32, float16 or bfloat16: private programs have a fixed point of their own.",
        )
    if missing:
        lines = [
            f"{op} at {', '.join(node.name for node in places)}{_reason(op)}" for op, places in sorted(missing.items())
        ]
        count = f"{len(missing)} operators" if len(missing) > 1 else "One operator"
        raise UnsupportedOp(
            f"{count} of the file cannot be imported:\n  " + "\n  ".join(lines),
            hint="`mpccompile passes --onnx-ops` lists those that can; CONTRIBUTING says how to add one.",
        )


def _has_rule(node: Node) -> bool:
    return node.op in OPERATORS or node.op == BRANCH


def _everywhere(nodes: Sequence[Node], around: str = "") -> Iterator[Node]:
    """Yield nodes and those of the graphs inside them, which are named with what they are in."""
    for node in nodes:
        yield replace(node, name=f"{node.name}{around}")
        for branch in branches(node):
            yield from _everywhere(branch.nodes, f" in {node.name}{around}")


def _is_quantised(op: str) -> bool:
    return any(mark in op for mark in _QUANTISED)


def _places(nodes: Sequence[Node]) -> str:
    named = [node.name for node in nodes]
    if len(named) <= _MOST_PLACES:
        return ", ".join(named)
    return ", ".join(named[:_MOST_PLACES]) + f" and {len(named) - _MOST_PLACES} more"


def _reason(op: str) -> str:
    if op.startswith(_BLOCKED):
        return ": it is laid out for one kind of processor; optimise at onnxruntime's extended level, not all of it"
    return f": {_REASONS[op]}" if op in _REASONS else ""
