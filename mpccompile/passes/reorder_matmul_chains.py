"""Multiply chains of matrices in the cheaper order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import fx

from mpccompile.ir import ops
from mpccompile.ir.cost import OPENED_BYTES
from mpccompile.ir.edit import Edit, edited
from mpccompile.ir.rewrite import arguments, is_call, shape_of
from mpccompile.ir.shapes import Shape, product

if TYPE_CHECKING:
    from mpccompile.ir.program import Program

_TO_RIGHT = "The two right factors are multiplied first: fewer bytes are sent."
_TO_LEFT = "The two left factors are multiplied first: fewer bytes are sent."
_LINEAR_FIRST = "The weight is applied to the values before they are weighed: fewer bytes are sent."


def reorder_matmul_chains(program: Program) -> Program:
    """Reassociate products of three matrices where that opens and truncates fewer elements.

    before: ``matmul(matmul(%a, %b), %c)`` with ``%a: [100, 4]``, ``%b: [4, 100]``, ``%c: [100, 2]``
    after: ``matmul(%a, matmul(%b, %c))``; and the other way round

    before: ``linear(matmul(%p, %v), %w, %b)`` with more rows in ``%p`` than in ``%v``
    after: ``add(matmul(%p, linear(%v, %w)), %b)``
    """
    edit = edited(program)
    for node in edit.nodes:
        if is_call(node, ops.matmul) and edit.is_secret(node) and not _to_right(edit, node):
            _to_left(edit, node)
        elif is_call(node, ops.linear) and is_call(node.args[0], ops.matmul):
            _linear_first(edit, node)
    return edit.done()


@dataclass(frozen=True)
class _Way:
    """A way of computing a chain: the elements that it opens and truncates."""

    opened: tuple[Shape, ...]
    truncated: tuple[Shape, ...]

    @property
    def bytes_sent(self) -> int:
        """What a party sends for them."""
        return OPENED_BYTES * sum(math.prod(shape) for shape in (*self.opened, *self.truncated))


def _inner(edit: Edit, operand: object) -> tuple[fx.Node, fx.Node, fx.Node] | None:
    """Return a matmul of secrets that nobody else reads, and its operands."""
    if not isinstance(operand, fx.Node) or not is_call(operand, ops.matmul) or len(operand.users) > 1:
        return None
    left, right = operand.args
    if not isinstance(left, fx.Node) or not isinstance(right, fx.Node):
        return None
    return (operand, left, right) if edit.is_secret(left) and edit.is_secret(right) else None


def _is_live(edit: Edit, node: object) -> bool:
    """Say whether a factor has to be opened: it is secret, and a matrix or a batch of them."""
    return isinstance(node, fx.Node) and edit.is_secret(node) and len(shape_of(node)) >= 2  # noqa: PLR2004 - a matrix


def _to_right(edit: Edit, node: fx.Node) -> bool:
    """``(a @ b) @ c`` as ``a @ (b @ c)``."""
    inner, c = _inner(edit, node.args[0]), node.args[1]
    if inner is None or not isinstance(c, fx.Node) or not all(_is_live(edit, each) for each in (*inner[1:], c)):
        return False
    ab, a, b = inner
    shapes = [shape_of(each) for each in (a, b, c)]
    bc = product(shapes[1], shapes[2])
    now = _Way((*shapes, shape_of(ab)), (shape_of(ab),))
    then = _Way((*shapes, bc), (bc,))
    if product(shapes[0], bc) != shape_of(node) or not _is_better(edit, node, now, then):
        return False
    first = edit.call(node, ops.matmul, b, c, like=ab)
    edit.replace(node, edit.call(node, ops.matmul, a, first, like=node), _TO_RIGHT)
    return True


def _to_left(edit: Edit, node: fx.Node) -> bool:
    """``a @ (b @ c)`` as ``(a @ b) @ c``."""
    inner, a = _inner(edit, node.args[1]), node.args[0]
    if inner is None or not isinstance(a, fx.Node) or not all(_is_live(edit, each) for each in (*inner[1:], a)):
        return False
    bc, b, c = inner
    shapes = [shape_of(each) for each in (a, b, c)]
    ab = product(shapes[0], shapes[1])
    now = _Way((*shapes, shape_of(bc)), (shape_of(bc),))
    then = _Way((*shapes, ab), (ab,))
    if product(ab, shapes[2]) != shape_of(node) or not _is_better(edit, node, now, then):
        return False
    first = edit.call(node, ops.matmul, a, b, like=bc)
    edit.replace(node, edit.call(node, ops.matmul, first, c, like=node), _TO_LEFT)
    return True


def _linear_first(edit: Edit, node: fx.Node) -> None:
    """``(p @ v) @ w.T`` as ``p @ (v @ w.T)``; only p, v and what lies between are opened, the weight never."""
    given = arguments(node)
    inner = _inner(edit, given["x"])
    if inner is None or not edit.is_weight(given["weight"]) or not all(_is_live(edit, each) for each in inner[1:]):
        return
    pv, p, v = inner
    vw = (*shape_of(v)[:-1], shape_of(node)[-1])
    now = _Way((shape_of(p), shape_of(v), shape_of(pv)), (shape_of(pv), shape_of(node)))
    then = _Way((shape_of(v), shape_of(p), vw), (vw, shape_of(node)))
    if not _is_better(edit, node, now, then):
        return
    first = edit.call(node, ops.linear, v, given["weight"], like=node)
    result = edit.call(node, ops.matmul, p, first, like=pv)
    if given["bias"] is not None:
        result = edit.call(node, ops.add, result, given["bias"], like=node)
    edit.replace(node, result, _LINEAR_FIRST)


def _is_better(edit: Edit, node: fx.Node, now: _Way, then: _Way) -> bool:
    if then.bytes_sent < now.bytes_sent:
        return True
    edit.skip(node, f"the other order sends {then.bytes_sent} bytes, this one {now.bytes_sent}")
    return False
