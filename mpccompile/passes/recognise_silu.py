"""Find SiLU where a model writes it out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import fx

from mpccompile.ir import ops
from mpccompile.ir.rewrite import copied, insert_call, is_call, replace, tidy

if TYPE_CHECKING:
    from mpccompile.ir.program import Program


def recognise_silu(program: Program) -> Program:
    """Replace a product of a value with its own sigmoid by one op.

    before: ``mul(%x, sigmoid(%x))``, its factors in any order
    after: ``silu(%x)``
    """
    module = copied(program.module)
    for node in list(module.graph.nodes):
        x = _of_own_sigmoid(node)
        if x is not None:
            replace(node, insert_call(node, ops.silu, x, like=node))
    tidy(module)
    return program.with_changes(module=module)


def _of_own_sigmoid(node: fx.Node) -> fx.Node | None:
    """Return x of ``x * sigmoid(x)``."""
    if not is_call(node, ops.mul):
        return None
    for x, gate in (node.args, node.args[::-1]):
        if isinstance(x, fx.Node) and isinstance(gate, fx.Node) and is_call(gate, ops.sigmoid) and gate.args[0] is x:
            return x
    return None
