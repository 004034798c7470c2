"""Compute only the rows that are read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from mpccompile.ir import ops
from mpccompile.ir.edit import Edit, edited
from mpccompile.ir.rewrite import arguments, is_call, shape_of, target_of

if TYPE_CHECKING:
    from mpccompile.ir.program import Program

_EARLIER = "It is computed for the rows that are read, and for no others."


def hoist_takes(program: Program) -> Program:
    """Take the rows that are read before an operation, not after it.

    before: ``%h = layer_norm(add(linear(%a, ...), %x), ...)``, whose only reader is ``take(%h, 1, 0, 1)``
    after: ``layer_norm(add(linear(take(%a, 1, 0, 1), ...), take(%x, 1, 0, 1)), ...)``

    A classifier reads one position of the last layer: of all others only keys and values are needed there.
    """
    edit = edited(program)
    for node in reversed(edit.nodes):
        taken = _common_take(edit, node)
        rule = _RULES.get(target_of(node)) if taken is not None else None
        if taken is None or rule is None:
            continue
        operands = rule(edit, node, taken)
        if operands is not None:
            _hoist(edit, node, operands)
    return edit.done()


@dataclass(frozen=True)
class _Taken:
    """A slice of one dim, counted from the front."""

    dim: int
    start: int
    stop: int
    step: int


Rule = Callable[[Edit, fx.Node, _Taken], dict[str, Any] | None]


def _common_take(edit: Edit, node: fx.Node) -> _Taken | None:
    """Return the slice that every reader of a secret value takes."""
    if node.op != "call_function" or not edit.is_secret(node) or not node.users:
        return None
    found = set()
    for user in node.users:
        if not is_call(user, ops.take):
            return None
        given = arguments(user)
        start, stop, step = slice(given["start"], given["stop"], given["step"]).indices(
            shape_of(node)[given["dim"] % len(shape_of(node))]
        )
        found.add(_Taken(given["dim"] % len(shape_of(node)), start, stop, step))
    return found.pop() if len(found) == 1 else None


def _hoist(edit: Edit, node: fx.Node, operands: dict[str, Any]) -> None:
    smaller = edit.call(node, target_of(node), *operands.values(), like=node)
    for user in list(node.users):
        edit.replace(user, smaller, _EARLIER)
    # Its operands must not count it among their readers when their turn comes.
    edit.module.graph.erase_node(node)


def _take(edit: Edit, before: fx.Node, value: fx.Node, taken: _Taken, dim: int) -> fx.Node:
    where = (dim, taken.start, taken.stop) if taken.step == 1 else (dim, taken.start, taken.stop, taken.step)
    if edit.is_secret(value):
        return edit.call(before, ops.take, value, *where, like=before)
    data = edit.known(value)
    if data is not None:
        return edit.weight(value, before, ops.take(data, *where))
    return edit.call(before, torch.ops.aten.slice.Tensor, value, *where, like=before)


def _aligned(edit: Edit, node: fx.Node, operand: object, taken: _Taken) -> object:
    """Take from an operand that broadcasts to the result; what has one row for all stays."""
    if not isinstance(operand, fx.Node):
        return operand
    dim = taken.dim - (len(shape_of(node)) - len(shape_of(operand)))
    if dim < 0 or shape_of(operand)[dim] == 1:
        return operand
    return _take(edit, node, operand, taken, dim)


def _elementwise(edit: Edit, node: fx.Node, taken: _Taken) -> dict[str, Any]:
    return {name: _aligned(edit, node, value, taken) for name, value in arguments(node).items()}


def _by_row(edit: Edit, node: fx.Node, taken: _Taken) -> dict[str, Any] | None:
    """Linears, norms and softmax treat each row of the last dim alike."""
    if taken.dim == len(shape_of(node)) - 1:
        return None
    given = arguments(node)
    return given | {name: _aligned(edit, node, given[name], taken) for name in ("x", "mask") if name in given}


def _matmul(edit: Edit, node: fx.Node, taken: _Taken) -> dict[str, Any] | None:
    given, rank = arguments(node), len(shape_of(node))
    if any(len(shape_of(operand)) < 2 for operand in given.values()):  # noqa: PLR2004 - vectors follow other rules
        return None
    if taken.dim == rank - 2:
        return given | {"x": _take(edit, node, given["x"], taken, len(shape_of(given["x"])) - 2)}
    if taken.dim == rank - 1:
        return given | {"y": _take(edit, node, given["y"], taken, len(shape_of(given["y"])) - 1)}
    return {name: _aligned(edit, node, operand, taken) for name, operand in given.items()}


def _permute(edit: Edit, node: fx.Node, taken: _Taken) -> dict[str, Any]:
    given = arguments(node)
    dim = given["dims"][taken.dim] % len(shape_of(node))
    return given | {"x": _take(edit, node, given["x"], taken, dim)}


def _reshape(edit: Edit, node: fx.Node, taken: _Taken) -> dict[str, Any] | None:
    """A dim survives a reshape where as many elements lie in front of it, and it is as long, before and after."""
    given = arguments(node)
    old, new = shape_of(given["x"]), shape_of(node)
    front = math.prod(new[: taken.dim])
    same = [dim for dim, size in enumerate(old) if size == new[taken.dim] and math.prod(old[:dim]) == front]
    if not same:
        return None
    piece = _take(edit, node, given["x"], taken, same[0])
    return {"x": piece, "shape": _shortened(new, taken)}


def _expand(edit: Edit, node: fx.Node, taken: _Taken) -> dict[str, Any]:
    given = arguments(node)
    return {"x": _aligned(edit, node, given["x"], taken), "shape": _shortened(shape_of(node), taken)}


def _concat(edit: Edit, node: fx.Node, taken: _Taken) -> dict[str, Any] | None:
    given = arguments(node)
    if given["dim"] % len(shape_of(node)) == taken.dim:
        return None
    return given | {"xs": tuple(_take(edit, node, part, taken, taken.dim) for part in given["xs"])}


def _shortened(shape: tuple[int, ...], taken: _Taken) -> tuple[int, ...]:
    size = len(range(taken.start, taken.stop, taken.step))
    return (*shape[: taken.dim], size, *shape[taken.dim + 1 :])


_RULES: dict[Callable[..., Any], Rule] = {
    **dict.fromkeys(
        (
            ops.add,
            ops.sub,
            ops.neg,
            ops.mul,
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
            ops.where,
        ),
        _elementwise,
    ),
    **dict.fromkeys((ops.linear, ops.layer_norm, ops.rms_norm, ops.softmax), _by_row),
    ops.matmul: _matmul,
    ops.permute: _permute,
    ops.reshape: _reshape,
    ops.expand: _expand,
    ops.concat: _concat,
}
