"""Drop calls that change nothing, and join those that can be one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from mpccompile.ir import ops
from mpccompile.ir.edit import Edit, edited
from mpccompile.ir.rewrite import arguments, is_call, shape_of, target_of, value_of, weight_data
from mpccompile.ir.verify import OPS

if TYPE_CHECKING:
    from mpccompile.ir.program import Program

Args = dict[str, Any]
Rule = Callable[[Edit, fx.Node, Args], fx.Node | None]
_NO_OP = "It changed nothing, or was one of two views in a row that are one."
_TWIN = "An equal value is computed before it."
_NUMBERS = "Two numbers in a row became one."


def drop_no_ops(program: Program) -> Program:
    """Drop calls that change nothing, join views of views, and compute equal values once.

    before: ``reshape(reshape(%x, [2, 6, 4, 4]), [2, 6, 16])`` of ``%x: [2, 6, 16]``, ``mul(%y, 1.0)``, ``add(%y, 0)``
    after: ``%x``, ``%y``, ``%y``

    before: ``permute(permute(%x, [0, 2, 1]), [0, 2, 1])``, ``take(take(%x, 0, 2, 8), 0, 1, 3)``
    after: ``%x``, ``take(%x, 0, 3, 5)``; likewise for expand, and for a take of a concat

    before: ``%a = mul(%x, %y)``, ``%b = mul(%x, %y)``
    after: ``%a`` for both
    """
    edit = edited(program)
    while _sweep(edit):
        pass
    return edit.done()


def _sweep(edit: Edit) -> bool:
    """Go through the graph once, operands first; say whether anything changed."""
    count = len(edit.changed)
    seen: dict[object, fx.Node] = {}
    for node in edit.nodes:
        if node.op == "call_function" and not node.users:
            edit.module.graph.erase_node(node)
            continue
        rule = _RULES.get(target_of(node)) if node.op == "call_function" else None
        simpler = rule(edit, node, arguments(node)) if rule is not None else None
        if simpler is not None:
            edit.replace(node, simpler, _NO_OP)
            continue
        key = _key(node)
        twin = seen.setdefault(key, node) if key is not None else node
        if twin is not node:
            edit.replace(node, twin, _TWIN)
    return len(edit.changed) > count


def _key(node: fx.Node) -> object:
    """Return what makes two nodes compute the same; None where nothing does."""
    if node.op == "get_attr":
        return str(node.target)
    if node.op != "call_function" or torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
        return None
    given = arguments(node) if node.target in OPS else {"args": node.args, **node.kwargs}
    return (node.target, _frozen(given)) if not node.is_impure() else None


def _frozen(value: object) -> object:
    if isinstance(value, list | tuple):
        return tuple(_frozen(item) for item in value)
    if isinstance(value, dict):
        return tuple((key, _frozen(item)) for key, item in value.items())
    # 1, 1.0 and True are equal, and multiply to different dtypes.
    return value if isinstance(value, fx.Node) else (type(value), value)


def _same_type(node: fx.Node, x: object) -> fx.Node | None:
    """Return ``x`` if it has the shape and dtype of ``node``."""
    if not isinstance(x, fx.Node) or shape_of(x) != shape_of(node) or value_of(x).dtype != value_of(node).dtype:
        return None
    return x


def _neutral(edit: Edit, node: fx.Node, number: float) -> fx.Node | None:
    x, y = node.args[:2]
    if edit.number(y) == number:
        return _same_type(node, x)
    return _same_type(node, y) if edit.number(x) == number and not is_call(node, ops.sub) else None


def _join_numbers(edit: Edit, node: fx.Node, join: Callable[[float, float], float]) -> None:
    """Give ``node`` the argument of a call of its kind in front of it, both with a number as second operand."""
    inner, outer = node.args[:2]
    if not isinstance(inner, fx.Node) or not is_call(inner, target_of(node)) or not isinstance(outer, float):
        return
    if isinstance(inner.args[1], float) and len(inner.users) == 1:
        edit.change(node, _NUMBERS, x=inner.args[0], y=join(inner.args[1], outer))


def _mul(edit: Edit, node: fx.Node, _: Args) -> fx.Node | None:
    _join_numbers(edit, node, lambda a, b: a * b)
    return _neutral(edit, node, 1.0)


def _add(edit: Edit, node: fx.Node, _: Args) -> fx.Node | None:
    _join_numbers(edit, node, lambda a, b: a + b)
    return _neutral(edit, node, 0.0)


def _sub(edit: Edit, node: fx.Node, _: Args) -> fx.Node | None:
    return _neutral(edit, node, 0.0)


def _neg(_: Edit, node: fx.Node, given: Args) -> fx.Node | None:
    x = given["x"]
    return _same_type(node, x.args[0]) if is_call(x, ops.neg) else None


def _reshape(edit: Edit, node: fx.Node, given: Args) -> fx.Node | None:
    x = given["x"]
    if shape_of(x) == shape_of(node):
        return _same_type(node, x)
    if is_call(x, ops.reshape):
        return edit.call(node, ops.reshape, x.args[0], tuple(given["shape"]))
    return None


def _permute(edit: Edit, node: fx.Node, given: Args) -> fx.Node | None:
    x, rank = given["x"], len(shape_of(node))
    dims = tuple(dim % rank for dim in given["dims"])
    if dims == tuple(range(rank)):
        return _same_type(node, x)
    if is_call(x, ops.permute):
        inner = tuple(dim % rank for dim in arguments(x)["dims"])
        return edit.call(node, ops.permute, x.args[0], tuple(inner[dim] for dim in dims))
    moved = [dim for dim in dims if shape_of(x)[dim] != 1]
    if moved == sorted(moved):
        # Only dims of size 1 change places, so the elements keep their order.
        return edit.call(node, ops.reshape, x, shape_of(node))
    return None


def _expand(edit: Edit, node: fx.Node, given: Args) -> fx.Node | None:
    x = given["x"]
    if shape_of(x) == shape_of(node):
        return _same_type(node, x)
    return edit.call(node, ops.expand, x.args[0], tuple(given["shape"])) if is_call(x, ops.expand) else None


def _take(edit: Edit, node: fx.Node, given: Args) -> fx.Node | None:
    x = given["x"]
    dim = given["dim"] % len(shape_of(x))
    places = range(shape_of(x)[dim])[given["start"] : given["stop"] : given["step"]]
    if len(places) == shape_of(x)[dim]:
        return _same_type(node, x)
    inner = arguments(x) if is_call(x, ops.take, ops.concat) else {}
    if not inner or inner["dim"] % len(shape_of(x)) != dim or not places:
        return None
    if is_call(x, ops.take):
        base: fx.Node = inner["x"]
        places = range(shape_of(base)[dim])[inner["start"] : inner["stop"] : inner["step"]][
            given["start"] : given["stop"] : given["step"]
        ]
        return edit.call(node, ops.take, base, dim, places[0], places[-1] + 1, places.step)
    return _take_of_concat(edit, node, inner["xs"], dim, places)


def _take_of_concat(edit: Edit, node: fx.Node, parts: list[fx.Node], dim: int, places: range) -> fx.Node | None:
    start = 0
    for part in parts:
        end = start + shape_of(part)[dim]
        if start <= places[0] and places[-1] < end:
            return edit.call(node, ops.take, part, dim, places[0] - start, places[-1] + 1 - start, places.step)
        start = end
    return None


def _concat(_: Edit, node: fx.Node, given: Args) -> fx.Node | None:
    parts = given["xs"]
    return _same_type(node, parts[0]) if len(parts) == 1 else None


def _gather_rows(edit: Edit, node: fx.Node, given: Args) -> fx.Node | None:
    x, index = given["x"], given["index"]
    if index.op != "get_attr":
        return None
    rows = weight_data(edit.module, index)
    everything = torch.arange(shape_of(x)[given["dim"]])
    return _same_type(node, x) if torch.equal(rows.long(), everything) else None


_RULES: dict[Callable[..., Any], Rule] = {
    ops.mul: _mul,
    ops.add: _add,
    ops.sub: _sub,
    ops.neg: _neg,
    ops.reshape: _reshape,
    ops.permute: _permute,
    ops.expand: _expand,
    ops.take: _take,
    ops.concat: _concat,
    ops.gather_rows: _gather_rows,
}
