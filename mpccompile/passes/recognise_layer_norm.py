"""Find LayerNorm where a model writes it out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import fx

from mpccompile.ir import ops
from mpccompile.ir.rewrite import arguments, copied, insert_call, is_call, replace, shape_of, tidy

if TYPE_CHECKING:
    from mpccompile.ir.program import Program


def recognise_layer_norm(program: Program) -> Program:
    """Replace each written-out LayerNorm by one op; ``recognise_rms_norm``, which goes first, has found the half of it.

    before: ``add(rms_norm(sub(%x, mean(%x, [-1], True)), %w, 1e-12), %b)``
    after: ``layer_norm(%x, %w, %b, 1e-12)``; without ``%b`` where no vector is added
    """
    module = copied(program.module)
    for node in list(module.graph.nodes):
        if not is_call(node, ops.rms_norm):
            continue
        given = arguments(node)
        x = _before_centring(given["x"])
        if x is None:
            continue
        weight, eps = given["weight"], given["eps"]
        users = list(node.users)
        shift = _other_term(users[0], node) if len(users) == 1 and weight is not None else None
        if shift is not None and shape_of(shift) == shape_of(x)[-1:] and _is_weight(shift):
            replace(users[0], insert_call(users[0], ops.layer_norm, x, weight, shift, eps))
        else:
            replace(node, insert_call(node, ops.layer_norm, x, weight, None, eps))
    tidy(module)
    return program.with_changes(module=module)


def _before_centring(far: object) -> fx.Node | None:
    """Return x of ``x - mean(x)`` over the last dim."""
    if not isinstance(far, fx.Node) or not is_call(far, ops.sub):
        return None
    x, mean = far.args
    if not isinstance(x, fx.Node) or not isinstance(mean, fx.Node) or not is_call(mean, ops.mean):
        return None
    given = arguments(mean)
    rank = len(shape_of(x))
    is_last = [dim % rank for dim in given["dims"]] == [rank - 1]
    return x if given["x"] is x and given["keepdim"] and is_last else None


def _other_term(node: fx.Node, term: fx.Node) -> fx.Node | None:
    """Return what ``node`` adds to ``term``."""
    if not is_call(node, ops.add) or node.args[0] is node.args[1]:
        return None
    other = node.args[1] if node.args[0] is term else node.args[0]
    return other if isinstance(other, fx.Node) else None


def _is_weight(node: fx.Node) -> bool:
    return node.op == "get_attr"
