"""Logic on secret masks, which hold 0 and 1."""

from __future__ import annotations

import torch
from torch import fx

from mpccompile.ir import ops
from mpccompile.lowering.masks import as_float, both, dtype_is_bool, negated
from mpccompile.lowering.registry import Refused, Site, lowers
from mpccompile.lowering.values import is_truth

aten = torch.ops.aten


def _checked(site: Site, *masks: fx.Node) -> None:
    if not all(dtype_is_bool(site, mask) or is_truth(site, mask) for mask in masks):
        raise Refused("a comparison of secret values has no private form")


@lowers(aten.logical_not.default, aten.bitwise_not.default)
def lower_not(site: Site, mask: fx.Node) -> fx.Node:
    """``not m`` is ``1 - m``."""
    _checked(site, mask)
    return negated(site, mask)


@lowers(
    aten.logical_and.default,
    aten.bitwise_and.Tensor,
    aten.__and__.Tensor,
)
def lower_and(site: Site, x: fx.Node, y: fx.Node) -> fx.Node:
    """``x and y`` is their product."""
    _checked(site, x, y)
    kept = both(site, x, y)
    return x if kept is None else kept


@lowers(
    aten.logical_or.default,
    aten.bitwise_or.Tensor,
    aten.__or__.Tensor,
)
def lower_or(site: Site, x: fx.Node, y: fx.Node) -> fx.Node:
    """``x or y`` is ``x + y - x * y``."""
    _checked(site, x, y)
    x, y = (mask if site.is_secret(mask) else as_float(site, mask) for mask in (x, y))
    secret, other = (x, y) if site.is_secret(x) else (y, x)
    return site.call(ops.sub, site.call(ops.add, secret, other), site.call(ops.mul, secret, other))


@lowers(aten.eq.Scalar, aten.ne.Scalar)
def lower_equal(site: Site, mask: fx.Node, value: float) -> fx.Node:
    """A mask compared with 0 or 1 is the mask or its opposite."""
    _checked(site, mask)
    if value not in (0, 1):
        raise Refused(f"a mask of 0 and 1 is compared with {value}")
    is_equal = site.node.target == aten.eq.Scalar
    return mask if (value == 1) == is_equal else negated(site, mask)
