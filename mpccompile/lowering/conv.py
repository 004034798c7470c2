"""Convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import fx

from mpccompile.ir import ops
from mpccompile.lowering.pooling import pair
from mpccompile.lowering.registry import Refused, Site, lowers
from mpccompile.lowering.shape import reshaped

if TYPE_CHECKING:
    from collections.abc import Sequence

aten = torch.ops.aten
_IMAGE_DIMS = 4
_SEQUENCE_DIMS = 3


@lowers(aten.conv2d.default, aten.conv1d.default)
def lower_conv(
    site: Site,
    x: fx.Node,
    weight: fx.Node,
    bias: fx.Node | None = None,
    stride: Sequence[int] = (1,),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    groups: int = 1,
) -> fx.Node:
    """A 2-d convolution; one over a sequence [N, C, T] is one over an image of height 1."""
    shape, kernel = site.shape(x), site.shape(weight)
    if len(shape) != len(kernel):
        raise Refused("it has no batch dim")
    if len(kernel) == _SEQUENCE_DIMS:
        x = reshaped(site, x, (*shape[:2], 1, shape[2]))
        weight = reshaped(site, weight, (*kernel[:2], 1, kernel[2]))
        stride, padding, dilation = (1, *stride), (0, *padding), (1, *dilation)
    elif len(kernel) != _IMAGE_DIMS:
        raise Refused(f"a convolution over {len(kernel) - 2} dims has no private form")
    answer = site.call(ops.conv2d, x, weight, bias, pair(stride), pair(padding), pair(dilation), groups)
    return reshaped(site, answer, site.shape())


@lowers(aten.conv2d.padding, aten.conv1d.padding)
def lower_conv_padding(
    site: Site,
    x: fx.Node,
    weight: fx.Node,
    bias: fx.Node | None = None,
    stride: Sequence[int] = (1,),
    padding: str = "valid",
    dilation: Sequence[int] = (1,),
    groups: int = 1,
) -> fx.Node:
    """As ``conv2d``, its padding given as "valid" or "same"."""
    kernel = site.shape(weight)[2:]
    wide = pair(dilation) if len(kernel) > 1 else tuple(dilation)
    extra = [step * (size - 1) for step, size in zip(wide, kernel, strict=True)]
    if padding == "same" and any(total % 2 for total in extra):
        raise Refused("padding of an even kernel is not the same on both sides")
    sides = [total // 2 if padding == "same" else 0 for total in extra]
    return lower_conv(site, x, weight, bias, stride, sides, dilation, groups)


@lowers(aten.convolution.default)
def lower_convolution(  # noqa: PLR0913, PLR0917 - the arguments of its ATen schema
    site: Site,
    x: fx.Node,
    weight: fx.Node,
    bias: fx.Node | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    _output_padding: Sequence[int],
    groups: int,
) -> fx.Node:
    """As ``conv2d`` or ``conv1d``."""
    if transposed:
        raise Refused("a transposed convolution has no private form")
    return lower_conv(site, x, weight, bias, stride, padding, dilation, groups)
