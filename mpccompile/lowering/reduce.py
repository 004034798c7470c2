"""Sums and means."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import fx

from mpccompile.ir import ops
from mpccompile.ir.rewrite import value_of
from mpccompile.lowering.elementwise import lower_sqrt, product
from mpccompile.lowering.registry import Refused, Site, lowers
from mpccompile.lowering.shape import reshaped

if TYPE_CHECKING:
    from collections.abc import Sequence

aten = torch.ops.aten


def _dims(site: Site, x: fx.Node, dims: Sequence[int] | None) -> tuple[int, ...]:
    rank = len(site.shape(x))
    return tuple(sorted(dim % rank for dim in dims)) if dims else tuple(range(rank))


@lowers(aten.mean.default, aten.mean.dim)
def lower_mean(
    site: Site, x: fx.Node, dims: Sequence[int] | None = None, keepdim: bool = False, **_: object
) -> fx.Node:
    """Mean over some dims, or all of them."""
    return site.call(ops.mean, x, _dims(site, x, dims), *((True,) if keepdim else ()))


@lowers(aten.sum.default, aten.sum.dim_IntList)
def lower_sum(site: Site, x: fx.Node, dims: Sequence[int] | None = None, keepdim: bool = False, **_: object) -> fx.Node:
    """Sum over some dims, or all of them."""
    return site.call(ops.sum, x, _dims(site, x, dims), *((True,) if keepdim else ()))


@lowers(aten.argmax.default)
def lower_argmax(site: Site, x: fx.Node, dim: int | None = None, _keepdim: bool = False) -> fx.Node:
    """Place of the largest along a dim, which is moved to the end, or of all elements."""
    if not value_of(x).is_floating_point():
        raise Refused("the place of the largest of secret integers has no private form")
    if dim is None:
        rows = reshaped(site, x, (math.prod(site.shape(x)),))
    else:
        dims = [at for at in range(len(site.shape(x))) if at != site.dim(dim, x)]
        order = (*dims, site.dim(dim, x))
        rows = x if order == tuple(range(len(order))) else site.call(ops.permute, x, order)
    return reshaped(site, site.call(ops.argmax, rows), site.shape())


@lowers(aten.argmin.default)
def lower_argmin(site: Site, x: fx.Node, dim: int | None = None, keepdim: bool = False) -> fx.Node:
    """Place of the largest of ``-x``."""
    return lower_argmax(site, site.call(ops.neg, x), dim, keepdim)


@lowers(aten.var.correction)
def lower_var(
    site: Site, x: fx.Node, dims: Sequence[int] | None = None, *, correction: float | None = 1, keepdim: bool = False
) -> fx.Node:
    """Mean of the squared distance from the mean, times ``n / (n - correction)``."""
    over = _dims(site, x, dims)
    count = math.prod(site.shape(x)[dim] for dim in over)
    free = count - (1 if correction is None else correction)
    if free <= 0:
        raise Refused("the variance of one value is not a number")
    far = site.call(ops.square, site.call(ops.sub, x, site.call(ops.mean, x, over, True)))
    return product(site, site.call(ops.mean, far, over, *((True,) if keepdim else ())), count / free)


@lowers(aten.linalg_vector_norm.default)
def lower_vector_norm(
    site: Site, x: fx.Node, order: float = 2, dims: Sequence[int] | None = None, keepdim: bool = False, **_: object
) -> fx.Node:
    """The Euclidean norm is the root of a sum of squares; the vector must not be 0."""
    if order != 2:  # noqa: PLR2004 - the Euclidean norm
        raise Refused(f"the norm of order {order} has no private form")
    square = site.call(ops.square, x)
    return lower_sqrt(site, site.call(ops.sum, square, _dims(site, x, dims), *((True,) if keepdim else ())))
