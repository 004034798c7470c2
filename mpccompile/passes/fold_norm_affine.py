"""Move the scale and shift of a norm into the linears that read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, fx

from mpccompile.ir import ops
from mpccompile.ir.channels import Use, along_last, scale_inputs, shift_channels, uses, why_fixed
from mpccompile.ir.edit import Edit, edited
from mpccompile.ir.rewrite import arguments, is_call

if TYPE_CHECKING:
    from mpccompile.ir.program import Program


def fold_norm_affine(program: Program) -> Program:
    """Fold the weight and bias of a layer norm or RMS norm into the linears that read its result.

    before: ``%n = layer_norm(%x, %gamma, %beta, eps)``, ``linear(%n, %w, %b)``
    after: ``%n = layer_norm(%x, None, None, eps)``, ``linear(%n, %w * gamma, %b + %w @ beta)``

    before: as above, and ``add(%n, %y)``
    after: as above, and ``add(add(mul(%n, %gamma), %beta), %y)``

    A multiplication by gamma costs an opening and a truncation. Where something else reads the norm too (the residual
    of a post-norm layer), the multiplication moves there: it shares its opening with the linears, and they no longer
    wait for it.
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
    readers: list[Use] = []
    keep: list[fx.Node] = []
    reasons: list[str] = []
    for user in list(norm.users):
        branch = [use for use in uses(edit.module, norm) if _comes_through(use, user, norm)]
        refusals = [reason for use in branch if (reason := _refusal(edit, use))]
        if refusals or not branch:
            keep.append(user)
            reasons.append(refusals[0] if refusals else f"%{user.name} leads nowhere")
        else:
            readers.extend(branch)
    if not readers:
        edit.skip(norm, f"its scale stays: {reasons[0]}")
        return
    if keep:
        edit.skip(norm, f"its scale stays for {len(keep)} of its readers: {reasons[0]}")
        _keep_affine(edit, norm, keep)
    for use in readers:
        _absorb(edit, use, edit.data(gamma), edit.known(beta))
    names = [name for name in ("weight", "bias") if name in given]
    edit.change(norm, **dict.fromkeys(names))


def _comes_through(use: Use, user: fx.Node, norm: fx.Node) -> bool:
    """Say whether a use reads the norm by way of one of its direct users."""
    if use.user is user:
        return use.operand is norm
    node: object = use.operand
    while isinstance(node, fx.Node) and node is not norm:
        if node is user:
            return True
        node = node.args[0]
    return False


def _refusal(edit: Edit, use: Use) -> str:
    """Say why a reader cannot take the scale."""
    if not is_call(use.user, ops.linear) or use.user.args[0] is not use.operand:
        return f"%{use.user.name} reads it and is no linear"
    if along_last(use.channels) is None:
        return f"%{use.user.name} reads it with its channels spread over several dims"
    return why_fixed(edit, use.user)


def _keep_affine(edit: Edit, norm: fx.Node, readers: list[fx.Node]) -> None:
    """Give these readers the scaled and shifted value, in calls of their own."""
    given = arguments(norm)
    before = norm.next
    value = edit.call(before, ops.mul, norm, given["weight"], like=norm)
    if given.get("bias") is not None:
        value = edit.call(before, ops.add, value, given["bias"], like=norm)
    for reader in readers:
        reader.replace_input_with(norm, value)


def _absorb(edit: Edit, use: Use, gamma: Tensor, beta: Tensor | None) -> None:
    linear, places = use.user, along_last(use.channels)
    weight = edit.data(arguments(linear)["weight"])
    if beta is not None:
        shift_channels(edit, linear, weight @ beta[places])
    scale_inputs(edit, linear, gamma[places])
