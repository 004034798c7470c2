"""Arithmetic element by element."""

from __future__ import annotations

import torch
from torch import fx

from mpccompile.ir import ops
from mpccompile.ir.rewrite import is_call, value_of
from mpccompile.lowering.masks import note_masked
from mpccompile.lowering.registry import Refused, Site, lowers
from mpccompile.lowering.shape import expanded

aten = torch.ops.aten
Operand = fx.Node | float
_LARGEST_POWER = 8


def product(site: Site, x: Operand, y: Operand) -> fx.Node:
    """Return ``x * y`` with a secret operand in front, and without a call where a factor is the number 1."""
    x, y = site.scalar(x), site.scalar(y)
    if not site.is_secret(x):
        x, y = y, x
    if isinstance(y, float | int) and y == 1 and isinstance(x, fx.Node) and value_of(x).is_floating_point():
        return x
    return site.call(ops.mul, x, y)


def total(site: Site, x: Operand, y: Operand) -> fx.Node:
    """Return ``x + y`` with a secret operand in front, and without a call where one is the number 0."""
    x, y = site.scalar(x), site.scalar(y)
    if not site.is_secret(x):
        x, y = y, x
    if isinstance(y, float | int) and y == 0 and isinstance(x, fx.Node) and value_of(x).is_floating_point():
        return x
    return site.call(ops.add, x, y)


def inverse(site: Site, x: Operand) -> Operand:
    """Return ``1 / x``: in plaintext where ``x`` is public, the inverse root itself where ``x`` is a root."""
    x = site.scalar(x)
    if isinstance(x, fx.Node):
        root = x.args[1] if is_call(x, ops.mul) else None
        if isinstance(root, fx.Node) and is_call(root, ops.rsqrt) and root.args[0] is x.args[0]:
            return root
        return site.call(ops.reciprocal if site.is_secret(x) else aten.reciprocal.default, x)
    if x == 0:
        raise Refused("it divides by 0")
    return 1.0 / x


@lowers(aten.add.Tensor, aten.add.Scalar)
def lower_add(site: Site, x: Operand, y: Operand, alpha: float = 1) -> fx.Node:
    """``x + alpha * y``."""
    return total(site, x, scaled(site, y, alpha))


@lowers(aten.sub.Tensor, aten.sub.Scalar)
def lower_sub(site: Site, x: Operand, y: Operand, alpha: float = 1) -> fx.Node:
    """``x - alpha * y``."""
    x, y = site.scalar(x), site.scalar(scaled(site, y, alpha))
    return total(site, x, -y) if isinstance(y, float | int) else site.call(ops.sub, x, y)


@lowers(aten.rsub.Scalar, aten.rsub.Tensor)
def lower_rsub(site: Site, x: Operand, y: Operand, alpha: float = 1) -> fx.Node:
    """``y - alpha * x``."""
    return lower_sub(site, y, x, alpha)


def scaled(site: Site, x: Operand, factor: float) -> Operand:
    """Return ``factor * x``, computed in plaintext where ``x`` is public."""
    if factor == 1:
        return x
    if not isinstance(x, fx.Node):
        return x * factor
    return product(site, x, factor) if site.is_secret(x) else site.call(aten.mul.Tensor, x, factor)


@lowers(aten.mul.Tensor, aten.mul.Scalar)
def lower_mul(site: Site, x: Operand, y: Operand) -> fx.Node:
    """``x * y``; a value times itself is a square."""
    return site.call(ops.square, x) if x is y else product(site, x, y)


@lowers(aten.div.Tensor, aten.div.Scalar, aten.true_divide.Tensor)
def lower_div(site: Site, x: Operand, y: Operand) -> fx.Node:
    """``x / y`` is x times the reciprocal of y, which is plaintext where y is public."""
    return product(site, x, inverse(site, y))


@lowers(aten.neg.default)
def lower_neg(site: Site, x: fx.Node) -> fx.Node:
    """``-x``."""
    return site.call(ops.neg, x)


@lowers(aten.square.default)
def lower_square(site: Site, x: fx.Node) -> fx.Node:
    """``x * x``."""
    return site.call(ops.square, x)


@lowers(aten.exp.default)
def lower_exp(site: Site, x: fx.Node) -> fx.Node:
    """``e ** x``."""
    return site.call(ops.exp, x)


@lowers(aten.reciprocal.default)
def lower_reciprocal(site: Site, x: fx.Node) -> fx.Node:
    """``1 / x``."""
    answer = inverse(site, x)
    return answer if isinstance(answer, fx.Node) else site.call(ops.reciprocal, x)


@lowers(aten.rsqrt.default)
def lower_rsqrt(site: Site, x: fx.Node) -> fx.Node:
    """``x ** -0.5``."""
    return site.call(ops.rsqrt, x)


@lowers(aten.sqrt.default)
def lower_sqrt(site: Site, x: fx.Node) -> fx.Node:
    """``sqrt(x)`` is x times its inverse root; x must be positive."""
    return site.call(ops.mul, x, site.call(ops.rsqrt, x))


@lowers(aten.pow.Tensor_Scalar)
def lower_pow(site: Site, x: fx.Node, exponent: float) -> fx.Node:
    """A power by a whole number up to 8 is squares and products; -1, 0.5 and -0.5 have ops of their own."""
    roots = {-1: lower_reciprocal, 0.5: lower_sqrt, -0.5: lower_rsqrt}
    if exponent in roots:
        return roots[exponent](site, x)
    if exponent != int(exponent) or not 1 <= exponent <= _LARGEST_POWER:
        raise Refused(f"the power {exponent} has no private form")
    return _power(site, x, int(exponent))


def _power(site: Site, x: fx.Node, exponent: int) -> fx.Node:
    if exponent == 1:
        return x
    half = site.call(ops.square, _power(site, x, exponent // 2))
    return product(site, half, x) if exponent % 2 else half


@lowers(aten.where.self, aten.where.ScalarOther, aten.where.ScalarSelf, aten.where.Scalar)
def lower_where(site: Site, condition: fx.Node, x: Operand, y: Operand) -> fx.Node:
    """``where`` with a public condition; a secret one is possible where it masks the scores of a softmax."""
    x, y = site.scalar(x), site.scalar(y)
    if site.is_secret(condition):
        note_masked(site, condition, x, y)
        raise Refused("a secret condition has a private form in front of a softmax only")
    known = site.known(condition)
    for outcome, value in ((True, x), (False, y)):
        if known is not None and bool((known == outcome).all()) and isinstance(value, fx.Node):
            return expanded(site, value, site.shape())
    return site.call(ops.where, condition, x, y)


@lowers(aten.masked_fill.Scalar, aten.masked_fill.Tensor)
def lower_masked_fill(site: Site, x: fx.Node, mask: fx.Node, value: Operand) -> fx.Node:
    """``masked_fill`` is a where with its operands exchanged."""
    return lower_where(site, mask, value, x)


@lowers(aten.maximum.default)
def lower_maximum(site: Site, x: fx.Node, y: fx.Node) -> fx.Node:
    """``max(x, y)`` is ``y + relu(x - y)``."""
    return total(site, site.call(ops.relu, site.call(ops.sub, x, y)), y)


@lowers(aten.minimum.default)
def lower_minimum(site: Site, x: fx.Node, y: fx.Node) -> fx.Node:
    """``min(x, y)`` is ``x - relu(x - y)``."""
    return site.call(ops.sub, x, site.call(ops.relu, site.call(ops.sub, x, y)))


@lowers(aten.abs.default)
def lower_abs(site: Site, x: fx.Node) -> fx.Node:
    """``|x|`` is ``2 * relu(x) - x``."""
    return site.call(ops.sub, product(site, site.call(ops.relu, x), 2.0), x)
