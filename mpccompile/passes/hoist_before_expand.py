"""Compute before a broadcast, not after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import fx

from mpccompile.ir import ops
from mpccompile.ir.edit import Edit, edited
from mpccompile.ir.rewrite import arguments, is_call, shape_of, target_of
from mpccompile.ir.shapes import broadcast, product

if TYPE_CHECKING:
    from mpccompile.ir.program import Program

_ELEMENTWISE = (
    ops.neg,
    ops.square,
    ops.gelu,
    ops.silu,
    ops.tanh,
    ops.sigmoid,
    ops.relu,
    ops.exp,
    ops.reciprocal,
    ops.rsqrt,
    ops.quadratic,
)
_BY_ROW = (ops.linear, ops.layer_norm, ops.rms_norm, ops.softmax)
_BINARY = (ops.add, ops.sub, ops.mul)
_HOISTED = "It is computed before the repetition, once for all copies."
_DROPPED = "It repeats its operand by itself."


def hoist_before_expand(program: Program) -> Program:
    """Apply an operation to a tensor before it is repeated.

    before: ``linear(expand(%x, [8, 6, 16]), %w, %b)`` of ``%x: [1, 6, 16]``
    after: ``expand(linear(%x, %w, %b), [8, 6, 32])``

    before: ``add(%scores, expand(%bias, [8, 12, 6, 6]))`` with ``%scores: [8, 12, 6, 6]``
    after: ``add(%scores, %bias)``, which broadcasts by itself
    """
    edit = edited(program)
    for node in edit.nodes:
        if node.op != "call_function" or not edit.is_secret(node):
            continue
        if is_call(node, *_BINARY, ops.matmul) and all(isinstance(arg, fx.Node) for arg in node.args):
            _drop_expands(edit, node)
        elif is_call(node, *_ELEMENTWISE, *_BINARY, *_BY_ROW) and is_call(node.args[0], ops.expand):
            _hoist(edit, node)
    return edit.done()


def _hoist(edit: Edit, node: fx.Node) -> None:
    wide = node.args[0]
    narrow = wide.args[0] if isinstance(wide, fx.Node) else None
    if not isinstance(wide, fx.Node) or not isinstance(narrow, fx.Node) or not edit.is_secret(narrow):
        return
    if is_call(node, *_BY_ROW) and shape_of(narrow)[-1:] != shape_of(wide)[-1:]:
        edit.skip(node, "the rows themselves are repeated")
        return
    given = arguments(node)
    if given.get("mask") is not None:
        edit.skip(node, "its mask may differ from copy to copy")
        return
    rest = list(given.values())[1:]
    computed = edit.call(node, target_of(node), narrow, *rest, like=node)
    edit.replace(node, edit.call(node, ops.expand, computed, shape_of(node), like=node), _HOISTED)


def _drop_expands(edit: Edit, node: fx.Node) -> None:
    """Leave the repeating to the operation, one operand at a time."""
    for name, operand in list(arguments(node).items()):
        if not is_call(operand, ops.expand):
            continue
        narrow = operand.args[0]
        if not isinstance(narrow, fx.Node):
            continue
        left, right = (shape_of(each) for each in (arguments(node) | {name: narrow}).values())
        shape = product(left, right) if is_call(node, ops.matmul) else broadcast(left, right)
        if shape == shape_of(node):
            edit.change(node, _DROPPED, **{name: narrow})
