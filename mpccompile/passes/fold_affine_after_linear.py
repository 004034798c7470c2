"""Move multiplications and additions by channel into the weights before them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx

from mpccompile.ir import ops
from mpccompile.ir.channels import channel_count, scale_channels, shift_channels, unviewed, uses, why_fixed
from mpccompile.ir.edit import Edit, edited
from mpccompile.ir.rewrite import is_call, shape_of

if TYPE_CHECKING:
    from mpccompile.ir.program import Program

_SCALED = (ops.linear, ops.conv2d, ops.layer_norm, ops.rms_norm)
_SHIFTED = (ops.linear, ops.conv2d, ops.layer_norm)
_FOLDED = "Its factor or shift is in the weights of what it follows."


def fold_affine_after_linear(program: Program) -> Program:
    """Fold a constant factor or shift for each channel into the linear, convolution or norm it follows.

    before: ``%y = conv2d(%x, %w, %b, ...)``, ``add(mul(%y, %factor), %shift)``, as batch norm is
    after: ``conv2d(%x, %w * factor, %b * factor + shift, ...)``

    Views may stand between, and channels that only others read keep their weights. What differs from place to place
    within a channel, as position embeddings do, stays.
    """
    edit = edited(program)
    for node in edit.nodes:
        if is_call(node, ops.mul, ops.add, ops.sub) and edit.is_secret(node):
            _fold(edit, node)
    return edit.done()


def _fold(edit: Edit, node: fx.Node) -> None:
    x, constant = _operands(edit, node)
    source = unviewed(x)
    if x is None or constant is None or not isinstance(source, fx.Node) or shape_of(x) != shape_of(node):
        return
    if not is_call(source, *(_SCALED if is_call(node, ops.mul) else _SHIFTED)):
        return
    reason = why_fixed(edit, source) or _apply(edit, node, x, source, constant)
    if reason:
        edit.skip(node, reason)


def _operands(edit: Edit, node: fx.Node) -> tuple[fx.Node | None, Tensor | None]:
    """Return the operand that varies, and the one that does not."""
    left, right = node.args[:2]
    if is_call(node, ops.mul) and (edit.number(left) is not None or edit.number(right) is not None):
        return None, None
    varying, other = (right, left) if edit.known(left) is not None and not is_call(node, ops.sub) else (left, right)
    if not isinstance(varying, fx.Node) or not edit.is_secret(varying) or varying.op == "get_attr":
        return None, None
    number = edit.number(other)
    return varying, edit.known(other) if number is None else torch.tensor(number, dtype=torch.float64)


def _apply(edit: Edit, node: fx.Node, x: fx.Node, source: fx.Node, constant: Tensor) -> str:
    """Change the weights of the source; return why not, or nothing when it was done."""
    neutral = 1.0 if is_call(node, ops.mul) else 0.0
    changed = torch.zeros(channel_count(source), dtype=torch.bool)
    vector = torch.full((channel_count(source),), neutral, dtype=torch.float64)
    everyone = list(uses(edit.module, source))
    wide = constant.double().expand(shape_of(node))
    for use in everyone:
        if use.user is node and use.operand is x:
            changed[use.channels.flatten()] = True
            vector[use.channels.flatten()] = wide.flatten()
            if not torch.equal(vector[use.channels], wide):
                return "the constant differs from place to place within a channel"
    for use in everyone:
        if (use.user is not node or use.operand is not x) and bool(changed[use.channels.flatten()].any()):
            return f"%{use.user.name} reads %{source.name} without the constant"
    if is_call(node, ops.mul):
        scale_channels(edit, source, vector)
    else:
        shift_channels(edit, source, -vector if is_call(node, ops.sub) else vector)
    edit.replace(node, x, _FOLDED)
    return ""
