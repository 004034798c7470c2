"""How many rows the tables have that inputs are looked up in."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from torch import fx

from mpccompile.ir import ops
from mpccompile.ir.rewrite import arguments, is_call, shape_of

if TYPE_CHECKING:
    from mpccompile.ir.program import Program


def with_table_rows(program: Program) -> Program:
    """Return a lowered program whose inputs of ids say how many rows the smallest table has that they index."""
    rows: dict[str, int] = {}
    for node in program.graph.nodes:
        if is_call(node, ops.embedding):
            given = arguments(node)
            name, count = _source(given["ids"]), shape_of(given["weight"])[0]
            if name is not None:
                rows[name] = min(count, rows.get(name, count))
    return program.with_changes(
        inputs=tuple(replace(spec, table_rows=rows.get(spec.name, spec.table_rows)) for spec in program.inputs)
    )


def _source(node: fx.Node) -> str | None:
    """Return the input that a value is a view of."""
    while is_call(node, ops.reshape, ops.permute, ops.expand):
        node = node.args[0]  # type: ignore[assignment]
    return str(node.target) if node.op == "placeholder" else None
