"""Checks that hold between any two stages of a compilation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from mpccompile.errors import PassFailed
from mpccompile.ir import ops
from mpccompile.ir.program import Origin, Program, Secrecy, origin_of
from mpccompile.ir.secrecy import infer

if TYPE_CHECKING:
    from collections.abc import Callable

_KINDS = frozenset({"placeholder", "get_attr", "call_function", "output"})
OPS: frozenset[Callable[..., Any]] = frozenset(
    value for value in vars(ops).values() if callable(value) and getattr(value, "__module__", "") == ops.__name__
)


def verify(program: Program) -> None:
    """Check a lowered program.

    Every node is a placeholder, get_attr, call_function or output; each but the output has a value and every one an
    origin; every call that yields a secret value is one of ``ir.ops``; the inputs match the placeholders.

    Raises:
        PassFailed: Naming the first node that breaks a rule.
    """
    program.graph.lint()
    names = tuple(str(node.target) for node in program.graph.nodes if node.op == "placeholder")
    if names != tuple(spec.name for spec in program.inputs):
        raise PassFailed(f"The placeholders {names} are not the inputs {tuple(spec.name for spec in program.inputs)}")
    levels = infer(program)
    for node in program.graph.nodes:
        problem = _problem(node, levels[node])
        if problem:
            raise PassFailed(f"Node %{node.name} {problem}", where=str(origin_of(node)))


def _problem(node: fx.Node, level: Secrecy) -> str:
    if node.op not in _KINDS:
        return f"is a {node.op}"
    if node.op == "output":
        return ""
    if not isinstance(node.meta.get("val"), torch.Tensor):
        return "has no value that is one tensor"
    if not isinstance(node.meta.get("origin"), Origin):
        return "has no origin"
    if node.op == "call_function" and level is Secrecy.SECRET and node.target not in OPS:
        return f"calls {node.target} on a secret value"
    return ""


def max_error(program: Program) -> float:
    """Run the program in plaintext on its example inputs and compare.

    Returns:
        The largest absolute difference from the reference over all outputs; infinity when one is not a number where
        the other is, or when shapes differ.
    """
    with torch.no_grad():
        answers = program.module(*program.example_inputs)
    worst = 0.0
    for answer, reference in zip(answers, program.reference, strict=True):
        if answer.shape != reference.shape:
            return float("inf")
        # Equal infinities differ by nan, and a nan in both is agreement: neither is an error.
        same = (answer == reference) | (answer.isnan() & reference.isnan())
        gap = torch.where(same, 0.0, (answer.float() - reference).abs()).nan_to_num(float("inf"))
        worst = max(worst, float(gap.max()) if gap.numel() else 0.0)
    return worst
