"""Run an ONNX graph once on inputs of the shapes it is compiled for, and keep what depends on them.

Exporters write shapes as computations. With the shapes known, all of that is known too: what remains are the steps that
work on the inputs' values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

import torch
from torch import Tensor

from mpccompile.capture.from_onnx.families import OPERATORS
from mpccompile.capture.from_onnx.graph import Graph, Node, needed, reads
from mpccompile.capture.from_onnx.registry import Answer, Array, Operator, Refused, Site
from mpccompile.capture.from_onnx.tensors import first_line
from mpccompile.capture.from_onnx.unsupported import BRANCH, check_supported
from mpccompile.errors import CaptureFailed, UnsupportedOp


class Kind(Enum):
    """What a value is made of.

    Attributes:
        KNOWN: Of public constants alone: the same whatever the input is.
        WEIGHT: Of weights.
        VIEW: A weight with its elements moved, kept as a step of its own: the weight is stored once.
        COMPUTED: Of an input.
    """

    KNOWN = "known"
    WEIGHT = "weight"
    VIEW = "view"
    COMPUTED = "computed"


@dataclass(frozen=True)
class Held:
    """A value: what it is made of, its data, and the module that made it."""

    kind: Kind
    data: Tensor
    owner: str = ""


@dataclass(frozen=True)
class Step:
    """A node that is computed whenever the model is called.

    Attributes:
        operator: Its operator.
        site: What is known about it.
        inputs: Names of its operands, empty where one is left out.
        outputs: Names of its results.
    """

    operator: Operator
    site: Site
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass
class Binding:
    """What is known of a graph while, and after, it is run.

    Attributes:
        opset: The version of ONNX's operators.
        values: By name.
        steps: In order.
        names: What a value of a branch is called outside of it, by its own name.
    """

    opset: int
    values: dict[str, Held]
    steps: list[Step] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    def held(self, name: str) -> Held | None:
        """Return a value; None where the name is empty."""
        if not name:
            return None
        inner = self.names.get(name, name)
        if inner not in self.values:
            raise UnsupportedOp(f"the result {inner} of a node cannot be computed, only the first of its results")
        return self.values[inner]


def bind(graph: Graph, stored: Mapping[str, Held], inputs: Mapping[str, Tensor], opset: int) -> Binding:
    """Run a graph and return the steps that depend on its inputs.

    Args:
        graph: The graph, its outputs those that are wanted.
        stored: Its stored tensors, weights and constants.
        inputs: One tensor per input.
        opset: The version of ONNX's operators.

    Raises:
        UnsupportedOp: If something cannot be computed, or not without knowing the inputs.
        CaptureFailed: If a node fails on inputs of these shapes.
    """
    given = {name: Held(Kind.COMPUTED, data) for name, data in inputs.items()}
    binding = Binding(opset, {**stored, **given})
    with torch.no_grad():
        _run(graph.nodes, binding, keep=set(graph.outputs))
    for name in graph.outputs:
        binding.held(name)
    binding.steps[:] = _needed(binding, graph.outputs)
    return binding


def _run(nodes: Sequence[Node], binding: Binding, keep: set[str]) -> None:
    waiting = Counter(name for node in nodes for name in reads(node))
    for node in nodes:
        if node.op == BRANCH:
            _take_branch(node, binding)
        else:
            _compute(node, binding)
        for name in reads(node):
            waiting[name] -= 1
            held = binding.values.get(name)
            # A large model's activations need not all stay in memory.
            if not waiting[name] and name not in keep and held is not None and held.kind is Kind.COMPUTED:
                del binding.values[name]


def _take_branch(node: Node, binding: Binding) -> None:
    condition = binding.held(node.inputs[0])
    if condition is None or condition.kind is not Kind.KNOWN:
        raise UnsupportedOp(
            "a branch is chosen by what the model is given",
            where=str(node.origin),
            hint="Export the model for fixed shapes, or without the condition.",
        )
    branch: Graph = node.attributes["then_branch" if bool(condition.data) else "else_branch"]
    nodes = needed(branch.nodes, branch.outputs)
    check_supported(nodes)
    for name, tensor in branch.tensors().items():
        binding.values[name] = Held(Kind.KNOWN if branch.is_public(name, tensor) else Kind.WEIGHT, tensor)
    _run(nodes, binding, keep=set(branch.outputs))
    for outer, inner in zip(node.outputs, branch.outputs, strict=True):
        binding.names[outer] = binding.names.get(inner, inner)


def _compute(node: Node, binding: Binding) -> None:
    operator = OPERATORS[node.op]
    operands = [binding.held(name) for name in node.inputs]
    kind = _kind(operator, operands)
    stored = tuple(_stored(held, place in operator.sizes) for place, held in enumerate(operands))
    site = Site(node, tuple(map(_known, operands)), stored, binding.opset)
    results = _evaluated(operator, site, [None if held is None else held.data for held in operands])
    names = tuple(binding.names.get(name, name) for name in node.inputs)
    for name, result in zip(node.outputs, results, strict=False):
        if name and result is not None:
            binding.values[name] = Held(kind, result, node.origin.module_path)
    if kind in (Kind.COMPUTED, Kind.VIEW):
        binding.steps.append(Step(operator, site, names, node.outputs))


def _kind(operator: Operator, operands: Sequence[Held | None]) -> Kind:
    kinds = {held.kind for held in operands if held is not None}
    if operator.shape_only or kinds <= {Kind.KNOWN}:
        return Kind.KNOWN
    if Kind.COMPUTED in kinds:
        return Kind.COMPUTED
    return Kind.VIEW if operator.view else Kind.WEIGHT


def _known(held: Held | None) -> Array | None:
    return held.data.numpy() if held is not None and held.kind is Kind.KNOWN else None


def _stored(held: Held | None, is_size: bool) -> Array | None:
    if held is None or held.kind is not Kind.WEIGHT:
        return None
    return held.data.numpy() if is_size or held.data.numel() == 1 else None


def _evaluated(operator: Operator, site: Site, operands: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
    node = site.node
    try:
        answer: Answer = operator.rule(site, *operands)
        site.check_attributes()
    except Refused as reason:
        raise UnsupportedOp(f"{node.op} cannot be imported: {reason}", where=str(node.origin)) from reason
    except Exception as error:
        shapes = ", ".join("none" if each is None else str(list(each.shape)) for each in operands)
        raise CaptureFailed(
            f"{node.op} fails on operands of shapes {shapes}: {first_line(error)}",
            where=str(node.origin),
            hint="Look at the shapes of the inputs.",
        ) from error
    return [answer] if isinstance(answer, Tensor) else list(answer)


def _needed(binding: Binding, outputs: Sequence[str]) -> list[Step]:
    wanted = {binding.names.get(name, name) for name in outputs}
    kept = []
    for step in reversed(binding.steps):
        if wanted & set(step.outputs):
            kept.append(step)
            wanted.update(step.inputs)
    return kept[::-1]
