"""Let a softmax be divided after the product that follows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpccompile.ir import ops
from mpccompile.ir.edit import edited
from mpccompile.ir.rewrite import arguments, is_call

if TYPE_CHECKING:
    from mpccompile.ir.program import Program


def fuse_softmax_matmul(program: Program) -> Program:
    """Make one attend of a softmax whose only reader multiplies it with values.

    before: ``%p = softmax(%scores, %mask)``, ``%y = matmul(%p, %v)``
    after: ``%y = attend(%scores, %v, %mask)``

    The weights of a row, of whatever form, are mixed before they are normalised: of BERT-base at 128 tokens there are
    half as many mixed values to divide as probabilities, and the divisor is inverted meanwhile.
    """
    edit = edited(program)
    for node in edit.nodes:
        if not is_call(node, ops.matmul) or not edit.is_secret(node):
            continue
        parts = arguments(node)
        softmax, values = parts["x"], parts["y"]
        if not is_call(softmax, ops.softmax) or not edit.is_secret(values):
            continue
        if len(softmax.users) > 1:
            edit.skip(softmax, "its probabilities have other readers")
            continue
        scores = arguments(softmax)
        given = (scores["x"], values, scores["mask"], scores["form"])
        edit.replace(node, edit.call(node, ops.attend, *given, like=softmax))
    return edit.done()
