"""Normalisations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import fx

from mpccompile.ir import ops
from mpccompile.ir.rewrite import Target, weight_data
from mpccompile.lowering.elementwise import product, total
from mpccompile.lowering.registry import Refused, Site, lowers
from mpccompile.lowering.shape import reshaped

if TYPE_CHECKING:
    from collections.abc import Sequence

aten = torch.ops.aten
Weight = fx.Node | None


@lowers(aten.layer_norm.default)
def lower_layer_norm(
    site: Site,
    x: fx.Node,
    normalized_shape: Sequence[int],
    weight: Weight = None,
    bias: Weight = None,
    eps: float = 1e-5,
    *_: object,
) -> fx.Node:
    """Layer norm over the last dim; several trailing dims are joined to one around it."""
    return _over_last(site, x, normalized_shape, (weight, bias), ops.layer_norm, eps)


@lowers(aten.native_layer_norm.default)
def lower_native_layer_norm(
    site: Site, x: fx.Node, normalized_shape: Sequence[int], weight: Weight, bias: Weight, eps: float
) -> list[fx.Node]:
    """As ``layer_norm``; its statistics have no private form."""
    return [_over_last(site, x, normalized_shape, (weight, bias), ops.layer_norm, eps)]


@lowers(aten.rms_norm.default)
def lower_rms_norm(
    site: Site, x: fx.Node, normalized_shape: Sequence[int], weight: Weight = None, eps: float | None = None
) -> fx.Node:
    """RMS norm over the last dim; several trailing dims are joined to one around it."""
    return _over_last(site, x, normalized_shape, (weight,), ops.rms_norm, torch.finfo().eps if eps is None else eps)


def _over_last(
    site: Site, x: fx.Node, sizes: Sequence[int], weights: tuple[Weight, ...], target: Target, eps: float
) -> fx.Node:
    shape, size = site.shape(x), math.prod(sizes)
    flat = reshaped(site, x, (*shape[: len(shape) - len(sizes)], size))
    vectors = [None if weight is None else reshaped(site, weight, (size,)) for weight in weights]
    return reshaped(site, site.call(target, flat, *vectors, eps), shape)


@lowers(aten.batch_norm.default)
def lower_batch_norm(
    site: Site,
    x: fx.Node,
    weight: Weight,
    bias: Weight,
    mean: fx.Node,
    var: fx.Node,
    training: bool,
    _momentum: float,
    eps: float,
    *_: object,
) -> fx.Node:
    """Batch norm in eval mode is one factor and one shift per channel, made of its weights and statistics here."""
    if training:
        raise Refused("batch norm is in training mode")
    return _batch_norm(site, x, (weight, bias, mean, var), eps)


@lowers(aten._native_batch_norm_legit_no_training.default)  # noqa: SLF001 - its ATen name
def lower_native_batch_norm(
    site: Site, x: fx.Node, weight: Weight, bias: Weight, mean: fx.Node, var: fx.Node, _momentum: float, eps: float
) -> list[fx.Node]:
    """As ``batch_norm``; its statistics have no private form."""
    return [_batch_norm(site, x, (weight, bias, mean, var), eps)]


def _batch_norm(site: Site, x: fx.Node, parts: tuple[Weight, Weight, fx.Node, fx.Node], eps: float) -> fx.Node:
    if any(part is not None and part.op != "get_attr" for part in parts):
        raise Refused("the statistics of batch norm are not stored weights")
    weight, bias, mean, var = (None if part is None else weight_data(site.module, part).double() for part in parts)
    if mean is None or var is None:
        raise Refused("batch norm keeps no running statistics")
    factor = torch.rsqrt(var + eps) * (1.0 if weight is None else weight)
    shift = (0.0 if bias is None else bias) - mean * factor
    shape = (-1, *(1,) * (len(site.shape(x)) - 2))
    name = str(parts[2].target).removesuffix("running_mean")
    stored = [part for part in parts if part is not None]
    scale = site.weight(f"{name}factor", lambda: factor.reshape(shape).float(), stored)
    moved = site.weight(f"{name}shift", lambda: shift.reshape(shape).float(), stored)
    return total(site, product(site, x, scale), moved)


@lowers(aten.group_norm.default)
def lower_group_norm(
    site: Site, x: fx.Node, groups: int, weight: Weight = None, bias: Weight = None, eps: float = 1e-5, *_: object
) -> fx.Node:
    """Group norm of x [N, C, ...] is a layer norm of [N, groups, -1], then a factor and a shift per channel."""
    shape = site.shape(x)
    grouped = reshaped(site, x, (shape[0], groups, math.prod(shape[1:]) // groups))
    normal = reshaped(site, site.call(ops.layer_norm, grouped, None, None, eps), shape)
    channels = (shape[1], *(1,) * (len(shape) - 2))
    if weight is not None:
        normal = product(site, normal, reshaped(site, weight, channels))
    return normal if bias is None else total(site, normal, reshaped(site, bias, channels))
