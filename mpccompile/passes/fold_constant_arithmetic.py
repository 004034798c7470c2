"""Compute at compile time what depends on weights only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx

from mpccompile.ir import ops
from mpccompile.ir.edit import Edit, edited
from mpccompile.ir.rewrite import is_call, shape_of, target_of

if TYPE_CHECKING:
    from mpccompile.ir.program import Program

_VIEWS = (ops.reshape, ops.permute, ops.take, ops.gather_rows)
_JOINED = "What is added twice is added once: both are known beforehand."
_STORED = "It is computed from weights alone, and stored instead."


def fold_constant_arithmetic(program: Program) -> Program:
    """Replace what is computed from weights alone by one weight.

    before: ``%p = embedding(%positions, %position_table)``, ``%t = embedding(%zeros, %type_table)``,
        ``add(add(%words, %t), %p)``
    after: ``add(%words, %folded)``

    Rows that are equal along a dim are stored once and expanded. A view of a weight that others read as it is stays.
    """
    edit = edited(program)
    fixed = _fixed(edit)
    for node in edit.nodes:
        if is_call(node, ops.add) and edit.is_secret(node):
            _reassociate(edit, node, fixed)
    for node in edit.nodes:
        if node in fixed and node.op == "call_function" and edit.is_secret(node) and not set(node.users) <= fixed:
            _fold(edit, node)
    return edit.done()


def _fixed(edit: Edit) -> set[fx.Node]:
    """Return the nodes that no input changes."""
    fixed: set[fx.Node] = set()
    for node in edit.nodes:
        operands = node.all_input_nodes
        computed = node.op == "call_function" and bool(operands) and all(operand in fixed for operand in operands)
        if node.op == "get_attr" or computed:
            fixed.add(node)
    return fixed


def _reassociate(edit: Edit, node: fx.Node, fixed: set[fx.Node]) -> None:
    """Turn ``(x + c) + d`` into ``x + (c + d)``, c and d being fixed."""
    inner, outer = _varying_and_fixed(node, fixed)
    if inner is None or outer is None or not is_call(inner, ops.add) or len(inner.users) > 1:
        return
    x, c = _varying_and_fixed(inner, fixed)
    if x is None or c is None or not (edit.is_secret(c) or edit.is_secret(outer)):
        return
    together = edit.call(node, ops.add, c, outer, like=inner)
    fixed.add(together)
    edit.change(node, _JOINED, x=x, y=together)


def _varying_and_fixed(node: fx.Node, fixed: set[fx.Node]) -> tuple[fx.Node | None, fx.Node | None]:
    left, right = node.args[:2]
    if not isinstance(left, fx.Node) or not isinstance(right, fx.Node) or (left in fixed) == (right in fixed):
        return None, None
    return (right, left) if left in fixed else (left, right)


def _fold(edit: Edit, node: fx.Node) -> None:
    inside = node
    while is_call(inside, ops.expand) and isinstance(inside.args[0], fx.Node):
        inside = inside.args[0]
    if inside.op == "get_attr":
        return
    roots, arithmetic = _subgraph(inside)
    shared = [root for root in roots if len(root.users) > 1]
    if shared and not arithmetic:
        edit.skip(node, f"the view stays: {shared[0].target} is used as it is too")
        return
    secrets = [root for root in roots if edit.is_secret(root)]
    data = _evaluate(edit, inside, {})
    weight = edit.weight(secrets[0], inside, _compressed(data), name=f"folded_{inside.name}")
    if shape_of(weight) != tuple(data.shape):
        edit.replace(inside, edit.call(inside, ops.expand, weight, tuple(data.shape), like=inside), _STORED)
    else:
        edit.replace(inside, weight, _STORED)


def _subgraph(node: fx.Node) -> tuple[list[fx.Node], bool]:
    """Return the stored tensors a value is computed from, and whether more than views is done to them."""
    if node.op == "get_attr":
        return [node], False
    roots: list[fx.Node] = []
    arithmetic = not is_call(node, *_VIEWS)
    for operand in node.all_input_nodes:
        found, more = _subgraph(operand)
        roots += [root for root in found if root not in roots]
        arithmetic = arithmetic or more
    return roots, arithmetic


def _evaluate(edit: Edit, node: fx.Node, known: dict[fx.Node, Tensor]) -> Tensor:
    """Compute a fixed value in float64."""
    data = edit.known(node)
    if data is not None:
        return data
    if node not in known:
        args, kwargs = fx.map_arg((node.args, node.kwargs), lambda arg: _evaluate(edit, arg, known))
        with torch.no_grad():
            known[node] = target_of(node)(*args, **kwargs)
    return known[node]


def _compressed(data: Tensor) -> Tensor:
    """Keep one of what is equal along a dim."""
    for dim in range(data.dim()):
        first = data.narrow(dim, 0, min(1, data.shape[dim]))
        if data.shape[dim] > 1 and bool((data == first).all()):
            data = first
    return data
