"""Move the scale and shift of a norm into the linears that read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, fx

from mpccompile.ir import ops
from mpccompile.ir.channels import Use, along_last, scale_inputs, shift_channels, uses, why_fixed
from mpccompile.ir.edit import Edit, edited
from mpccompile.ir.rewrite import arguments, is_call, weight_data
from mpccompile.ir.wide import product

if TYPE_CHECKING:
    from mpccompile.ir.program import Program

_MOVED = "The linears that read it have its weight and bias in theirs."


def fold_norm_affine(program: Program) -> Program:
    """Fold the weight and bias of a layer norm or RMS norm into the linears that read its result.

    before: ``%n = layer_norm(%x, %gamma, %beta, eps)``, ``linear(%n, %w, %b)``
    after: ``%n = layer_norm(%x, None, None, eps)``, ``linear(%n, %w * gamma, %b + %w @ beta)``

    Where something else reads the norm too, as the residual of a post-norm layer does, the scale stays: applied by that
    reader alone it would save no byte, and cost a round of its own.
    """
    edit = edited(program)
    for node in edit.nodes:
        if is_call(node, ops.layer_norm, ops.rms_norm) and arguments(node)["weight"] is not None:
            _fold(edit, node)
    return edit.done()


def _fold(edit: Edit, norm: fx.Node) -> None:
    given = arguments(norm)
    gamma, beta = given["weight"], given.get("bias")
    if any(vector is not None and edit.known(vector) is None for vector in (gamma, beta)):
        edit.skip(norm, "its weight and bias are not stored")
        return
    readers = list(uses(edit.module, norm))
    for use in readers:
        reason = _refusal(edit, use)
        if reason:
            edit.skip(norm, f"its scale stays: {reason}")
            return
    for use in readers:
        _absorb(edit, use, edit.data(gamma), edit.known(beta))
    edit.change(norm, _MOVED, **{name: None for name in ("weight", "bias") if name in given})


def _refusal(edit: Edit, use: Use) -> str:
    """Say why a reader cannot take the scale."""
    if not is_call(use.user, ops.linear) or use.user.args[0] is not use.operand:
        return f"%{use.user.name} reads it and is no linear"
    if along_last(use.channels) is None:
        return f"%{use.user.name} reads it with its channels spread over several dims"
    return why_fixed(edit, use.user)


def _absorb(edit: Edit, use: Use, gamma: Tensor, beta: Tensor | None) -> None:
    linear, places = use.user, along_last(use.channels)
    if beta is not None:
        weight = weight_data(edit.module, arguments(linear)["weight"])
        shift_channels(edit, linear, product(weight, beta[places]))
    scale_inputs(edit, linear, gamma[places])
