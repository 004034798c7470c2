"""What a graph looked like at one stage: enough to show it and to tell two stages apart, without the graph itself."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from mpccompile.ir.cost import cost_of
from mpccompile.ir.program import Program, Secrecy, origin_of
from mpccompile.ir.secrecy import infer
from mpccompile.ir.text import line_of, name_of


@dataclass(frozen=True)
class Seen:
    """One value of a graph.

    Attributes:
        name: Its name in the graph.
        op: Name of the operation, or ``input``.
        module_path: Module of the user's model it came from.
        source: ``file.py:line`` in the user's model.
        shape: Its shape; empty for what is no tensor.
        secret: Whether neither party may know it.
        text: The line that the printer of programs writes for it.
        reads: Names of the inputs and calls it is computed from.
        bytes_sent: Bytes one party sends for it, estimated; two values that differ in nothing else are the same.
        rounds: Its rounds by itself, likewise.
    """

    name: str
    op: str
    module_path: str
    source: str
    shape: tuple[int, ...]
    secret: bool
    text: str
    reads: tuple[str, ...]
    bytes_sent: int = field(default=0, compare=False)
    rounds: int = field(default=0, compare=False)


Snapshot = tuple[Seen, ...]
"""Inputs and calls in the order of the graph; stored tensors stand in the texts of those that read them."""


def snapshot(program: Program) -> Snapshot:
    """Return what is to be seen of a program."""
    levels = infer(program)
    rows = []
    for node in program.graph.nodes:
        if node.op not in ("placeholder", "call_function"):
            continue
        origin, value = origin_of(node), node.meta.get("val")
        cost = cost_of(node, levels)
        rows.append(
            Seen(
                node.name,
                "input" if node.op == "placeholder" else name_of(node.target),
                origin.module_path,
                origin.source,
                tuple(int(size) for size in value.shape) if isinstance(value, torch.Tensor) else (),
                levels[node] is Secrecy.SECRET,
                line_of(node, levels[node]),
                tuple(each.name for each in node.all_input_nodes if each.op != "get_attr"),
                cost.bytes_sent,
                cost.rounds,
            )
        )
    return tuple(rows)
