"""Multiply all query heads that share a key or value head at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import fx

from mpccompile.ir import ops
from mpccompile.ir.edit import Edit, edited
from mpccompile.ir.rewrite import arguments, is_call, shape_of

if TYPE_CHECKING:
    from mpccompile.ir.program import Program

_GROUPED = "The query heads of one key or value head became rows of one product."


def group_shared_heads(program: Program) -> Program:
    """Join the rows of query heads that share a key or value head, instead of repeating that head.

    before: ``matmul(%p, reshape(expand(%v, [2, 2, 4, 6, 8]), [2, 8, 6, 8]))`` with ``%v: [2, 2, 1, 6, 8]``
    after: ``reshape(matmul(reshape(%p, [2, 2, 24, 6]), reshape(%v, [2, 2, 6, 8])), [2, 8, 6, 8])``

    Each head is opened once, not once for each query head.
    """
    edit = edited(program)
    for node in edit.nodes:
        if is_call(node, ops.matmul) and edit.is_secret(node):
            shared = _shared(edit, node.args[1])
            if shared is not None:
                _group(edit, node, shared)
    return edit.done()


@dataclass(frozen=True)
class _Shared:
    """A right operand of repeated heads.

    Attributes:
        narrow: The heads once, [..., groups, 1, rows, columns].
        copies: How often each is repeated.
        swapped: Whether the operand has rows and columns exchanged.
    """

    narrow: fx.Node
    copies: int
    swapped: bool


def _shared(edit: Edit, operand: object) -> _Shared | None:
    """Match ``reshape(expand(%narrow))``, its last two dims exchanged or not."""
    swapped = False
    if isinstance(operand, fx.Node) and is_call(operand, ops.permute):
        rank = len(shape_of(operand))
        dims = tuple(dim % rank for dim in arguments(operand)["dims"])
        if rank < 2 or dims != (*range(rank - 2), rank - 1, rank - 2):  # noqa: PLR2004 - a matrix at least
            return None
        operand, swapped = operand.args[0], True
    wide = operand.args[0] if isinstance(operand, fx.Node) and is_call(operand, ops.reshape) else None
    narrow = wide.args[0] if isinstance(wide, fx.Node) and is_call(wide, ops.expand) else None
    if not isinstance(operand, fx.Node) or not isinstance(wide, fx.Node) or not isinstance(narrow, fx.Node):
        return None
    many, few, joined = shape_of(wide), shape_of(narrow), shape_of(operand)
    if len(many) != len(few) or len(few) < 4 or not edit.is_secret(narrow):  # noqa: PLR2004 - groups, 1, rows, columns
        return None
    *front, groups, copies, rows, columns = many
    if few != (*front, groups, 1, rows, columns) or joined != (*front, groups * copies, rows, columns):
        return None
    return _Shared(narrow, copies, swapped)


def _group(edit: Edit, node: fx.Node, shared: _Shared) -> None:
    left = node.args[0]
    *front, groups, _, rows, columns = shape_of(shared.narrow)
    if not isinstance(left, fx.Node) or shape_of(left)[:-2] != (*front, groups * shared.copies):
        edit.skip(node, "the left side does not have a head for each copy")
        return
    queries, width = shape_of(left)[-2:]
    right = edit.call(node, ops.reshape, shared.narrow, (*front, groups, rows, columns))
    if shared.swapped:
        rank = len(front) + 3
        right = edit.call(node, ops.permute, right, (*range(rank - 2), rank - 1, rank - 2))
    joined = edit.call(node, ops.reshape, left, (*front, groups, shared.copies * queries, width))
    product = edit.call(node, ops.matmul, joined, right, like=node)
    edit.replace(node, edit.call(node, ops.reshape, product, shape_of(node), like=node), _GROUPED)
