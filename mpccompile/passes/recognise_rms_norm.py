"""Find RMSNorm where a model writes it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import fx

from mpccompile.ir import ops
from mpccompile.ir.rewrite import copied, insert_call, is_call, replace, shape_of, tidy, weight_data

if TYPE_CHECKING:
    from mpccompile.ir.program import Program


def recognise_rms_norm(program: Program) -> Program:
    """Replace each written-out RMSNorm by one op.

    before: ``mul(%w, mul(%x, rsqrt(add(mean(square(%x), [-1], True), 1e-6))))``, its factors in any order
    after: ``rms_norm(%x, %w, 1e-6)``; without ``%w`` where no vector, or more than one, follows
    """
    module = copied(program.module)
    for node in list(module.graph.nodes):
        inside = _inside(program, node) if is_call(node, ops.rsqrt) else None
        if inside is None:
            continue
        for normal in [user for user in node.users if _other_factor(user, node) is inside.x]:
            _replace(normal, inside)
    tidy(module)
    return program.with_changes(module=module)


@dataclass(frozen=True)
class _Inside:
    """What an inverse root is taken of: ``mean(x * x) + eps`` over the last dim."""

    x: fx.Node
    eps: float


def _inside(program: Program, root: fx.Node) -> _Inside | None:
    total = root.args[0]
    if not isinstance(total, fx.Node) or not is_call(total, ops.add):
        return None
    for mean, eps in (total.args, reversed(total.args)):
        number, x = _number(program, eps), _mean_of_square(mean)
        if number is not None and x is not None:
            return _Inside(x, number)
    return None


def _number(program: Program, value: object) -> float | None:
    if isinstance(value, float | int):
        return float(value)
    if isinstance(value, fx.Node) and value.op == "get_attr" and value.target not in program.secret_attributes:
        data = weight_data(program.module, value)
        return float(data) if data.numel() == 1 else None
    return None


def _mean_of_square(mean: object) -> fx.Node | None:
    """Return x of ``mean(x * x)`` over the last dim, which is kept."""
    if not isinstance(mean, fx.Node) or not is_call(mean, ops.mean):
        return None
    square, dims, keepdim = (*mean.args, *mean.kwargs.values(), False)[:3]
    if not isinstance(square, fx.Node) or not isinstance(dims, tuple | list) or keepdim is not True:
        return None
    rank = len(shape_of(square))
    if [dim % rank for dim in dims if isinstance(dim, int)] != [rank - 1]:
        return None
    x = square.args[0] if is_call(square, ops.square) or _is_self_product(square) else None
    return x if isinstance(x, fx.Node) else None


def _is_self_product(node: fx.Node) -> bool:
    return is_call(node, ops.mul) and node.args[0] is node.args[1]


def _other_factor(node: fx.Node, factor: fx.Node) -> fx.Node | None:
    """Return what ``node`` multiplies ``factor`` with."""
    if not is_call(node, ops.mul) or _is_self_product(node):
        return None
    other = node.args[1] if node.args[0] is factor else node.args[0]
    return other if isinstance(other, fx.Node) else None


def _replace(normal: fx.Node, inside: _Inside) -> None:
    users = list(normal.users)
    weight = _other_factor(users[0], normal) if len(users) == 1 else None
    if weight is not None and shape_of(weight) == shape_of(inside.x)[-1:]:
        replace(users[0], insert_call(users[0], ops.rms_norm, inside.x, weight, inside.eps))
    else:
        replace(normal, insert_call(normal, ops.rms_norm, inside.x, None, inside.eps))
