"""Activations, each a function of one value."""

from __future__ import annotations

import torch
from torch import fx

from mpccompile.ir import ops
from mpccompile.lowering.elementwise import product, total
from mpccompile.lowering.registry import Refused, Site, lowers

aten = torch.ops.aten
_SIX = 6.0


@lowers(aten.gelu.default)
def lower_gelu(site: Site, x: fx.Node, *, approximate: str = "none") -> fx.Node:
    """GELU keeps its form: with erf ("none") or tanh."""
    return site.call(ops.gelu, x, approximate)


@lowers(aten.silu.default)
def lower_silu(site: Site, x: fx.Node) -> fx.Node:
    """``x * sigmoid(x)``."""
    return site.call(ops.silu, x)


@lowers(aten.tanh.default)
def lower_tanh(site: Site, x: fx.Node) -> fx.Node:
    """Hyperbolic tangent."""
    return site.call(ops.tanh, x)


@lowers(aten.sigmoid.default)
def lower_sigmoid(site: Site, x: fx.Node) -> fx.Node:
    """``1 / (1 + exp(-x))``."""
    return site.call(ops.sigmoid, x)


@lowers(aten.relu.default)
def lower_relu(site: Site, x: fx.Node) -> fx.Node:
    """``max(x, 0)``."""
    return site.call(ops.relu, x)


@lowers(aten.leaky_relu.default)
def lower_leaky_relu(site: Site, x: fx.Node, slope: float = 0.01) -> fx.Node:
    """``slope * x + (1 - slope) * relu(x)``."""
    return total(site, product(site, x, slope), product(site, site.call(ops.relu, x), 1 - slope))


@lowers(aten.hardtanh.default)
def lower_hardtanh(site: Site, x: fx.Node, low: float = -1.0, high: float = 1.0) -> fx.Node:
    """A clamp to both bounds."""
    return lower_clamp(site, x, low, high)


@lowers(aten.clamp.default)
def lower_clamp(site: Site, x: fx.Node, low: float | None = None, high: float | None = None) -> fx.Node:
    """``low + relu(x - low) - relu(x - high)``, or the part of it that has a bound."""
    excess = None if high is None else site.call(ops.relu, total(site, x, -high))
    raised = x if low is None else total(site, site.call(ops.relu, total(site, x, -low)), low)
    return raised if excess is None else site.call(ops.sub, raised, excess)


@lowers(aten.clamp_min.default)
def lower_clamp_min(site: Site, x: fx.Node, low: float) -> fx.Node:
    """A clamp to a lower bound."""
    return lower_clamp(site, x, low)


@lowers(aten.relu6.default)
def lower_relu6(site: Site, x: fx.Node) -> fx.Node:
    """``relu(x) - relu(x - 6)``."""
    return site.call(ops.sub, site.call(ops.relu, x), site.call(ops.relu, total(site, x, -_SIX)))


@lowers(aten.erf.default)
def refuse_erf(_site: Site, _x: fx.Node) -> fx.Node:
    """The error function has a private form inside a GELU only, where it is recognised later."""
    raise Refused("the error function has a private form inside a GELU only")
