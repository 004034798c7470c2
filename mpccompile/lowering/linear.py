"""Matrix products."""

from __future__ import annotations

import torch
from torch import fx

from mpccompile.ir import ops
from mpccompile.ir.rewrite import is_call, weight_data
from mpccompile.lowering.elementwise import product, scaled, total
from mpccompile.lowering.registry import Site, lowers

aten = torch.ops.aten


@lowers(aten.linear.default)
def lower_linear(site: Site, x: fx.Node, weight: fx.Node, bias: fx.Node | None = None) -> fx.Node:
    """``x @ weight.T + bias``."""
    return _linear(site, x, weight, bias)


@lowers(aten.matmul.default, aten.mm.default, aten.bmm.default)
def lower_matmul(site: Site, x: fx.Node, y: fx.Node) -> fx.Node:
    """A product with a secret 2-d weight is a linear; any other is a matmul."""
    weight = as_weight(site, y)
    return site.call(ops.matmul, x, y) if weight is None else _linear(site, x, weight, None)


@lowers(aten.addmm.default, aten.baddbmm.default)
def lower_addmm(site: Site, bias: fx.Node, x: fx.Node, y: fx.Node, *, beta: float = 1, alpha: float = 1) -> fx.Node:
    """``beta * bias + alpha * x @ y``; a linear where y is a weight and bias a vector."""
    weight = as_weight(site, y)
    is_vector = bias.op == "get_attr" and len(site.shape(bias)) == 1
    if weight is not None and is_vector and beta == 1 and alpha == 1:
        return _linear(site, x, weight, bias)
    answer = site.call(ops.matmul, x, y) if weight is None else _linear(site, x, weight, None)
    return total(site, product(site, answer, alpha), scaled(site, bias, beta))


def _linear(site: Site, x: fx.Node, weight: fx.Node, bias: fx.Node | None) -> fx.Node:
    if not site.is_secret(weight):
        answer = site.call(ops.matmul, x, site.call(ops.permute, weight, (1, 0)))
        return answer if bias is None else total(site, answer, bias)
    return site.call(ops.linear, x, weight) if bias is None else site.call(ops.linear, x, weight, bias)


def as_weight(site: Site, y: fx.Node) -> fx.Node | None:
    """Return the [out, in] weight whose transpose ``y`` [in, out] is; None where it is no weight, or public.

    A weight stored as [in, out], as GPT-2's are, is stored anew the other way round.
    """
    if len(site.shape(y)) != 2 or not site.is_secret(y):  # noqa: PLR2004 - a matrix
        return None
    if is_call(y, ops.permute) and isinstance(y.args[0], fx.Node) and y.args[0].op == "get_attr":
        return y.args[0]
    if y.op != "get_attr":
        return None
    return site.weight(f"{y.target}_transposed", lambda: _transposed(weight_data(site.module, y)), [y])


def _transposed(weight: torch.Tensor) -> torch.Tensor:
    """Copy a matrix the other way round; ``contiguous`` would leave a single row in the memory it has."""
    return weight.t().clone(memory_format=torch.contiguous_format)
