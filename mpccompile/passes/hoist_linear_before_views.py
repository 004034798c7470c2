"""Apply a linear before the rows of its input are rearranged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import fx

from mpccompile.ir import ops
from mpccompile.ir.channels import unviewed
from mpccompile.ir.edit import Edit, edited
from mpccompile.ir.rewrite import arguments, is_call, shape_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpccompile.ir.program import Program

_BEFORE_VIEW = "The linear comes before the view, which moves rows only."
_BEFORE_CONCAT = "The linear is applied to each part; one of them is stored."


def hoist_linear_before_views(program: Program) -> Program:
    """Move a linear in front of a reshape, permute or concat of its rows.

    before: ``linear(reshape(%x, [12, 16]), %w, %b)`` of ``%x: [2, 6, 16]``
    after: ``reshape(linear(%x, %w, %b), [12, 32])``

    before: ``linear(concat([%token, %x], 1), %w, %b)``, ``%token`` a weight
    after: ``concat([linear(%token, %w, %b), linear(%x, %w, %b)], 1)``, the first of which needs no input

    The cost of the first stays the same: what is gained is that linears of one value read it as the same node.
    """
    edit = edited(program)
    for node in edit.nodes:
        if not is_call(node, ops.linear) or not edit.is_secret(node):
            continue
        linear: fx.Node | None = node
        while linear is not None:
            linear = _hoist(edit, linear)
    return edit.done()


def _hoist(edit: Edit, linear: fx.Node) -> fx.Node | None:
    """Move a linear in front of one view; return the linear that now reads what the view read."""
    given = arguments(linear)
    view = given["x"]
    if is_call(view, ops.concat):
        _hoist_before_concat(edit, linear, view)
        return None
    inside = view.args[0] if is_call(view, ops.reshape, ops.permute) else None
    if not isinstance(inside, fx.Node) or not edit.is_secret(inside):
        return None
    shape = shape_of(inside)
    if is_call(view, ops.permute):
        if arguments(view)["dims"][-1] % len(shape) != len(shape) - 1:
            return None
        first = edit.call(linear, ops.linear, inside, given["weight"], given["bias"], like=linear)
        moved = edit.call(linear, ops.permute, first, arguments(view)["dims"], like=view)
    else:
        if shape[-1:] != shape_of(view)[-1:]:
            return None
        first = edit.call(linear, ops.linear, inside, given["weight"], given["bias"], like=linear)
        moved = edit.call(linear, ops.reshape, first, shape_of(linear), like=view)
    edit.replace(linear, moved, _BEFORE_VIEW)
    return first


def _hoist_before_concat(edit: Edit, linear: fx.Node, view: fx.Node) -> None:
    given, joined = arguments(linear), arguments(view)
    parts: Sequence[fx.Node] = joined["xs"]
    rank = len(shape_of(view))
    if joined["dim"] % rank == rank - 1:
        return
    if not any(_is_stored(edit, part) for part in parts) or not all(edit.is_secret(part) for part in parts):
        return
    pieces = [edit.call(linear, ops.linear, part, given["weight"], given["bias"], like=linear) for part in parts]
    edit.replace(linear, edit.call(linear, ops.concat, tuple(pieces), joined["dim"], like=view), _BEFORE_CONCAT)


def _is_stored(edit: Edit, part: fx.Node) -> bool:
    return edit.is_weight(unviewed(part))
