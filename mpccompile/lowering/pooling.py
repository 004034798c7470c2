"""Pooling over windows of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import fx

from mpccompile.ir import ops
from mpccompile.lowering.registry import Refused, Site, lowers
from mpccompile.lowering.shape import reshaped

if TYPE_CHECKING:
    from collections.abc import Sequence

aten = torch.ops.aten
_IMAGE_DIMS = 4


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """Return a size that may be one number for both dims as two."""
    values = (value,) if isinstance(value, int) else tuple(value)
    return (values[0], values[-1])


def _image(site: Site, x: fx.Node) -> fx.Node:
    """Return ``x`` with a batch dim."""
    shape = site.shape(x)
    return x if len(shape) == _IMAGE_DIMS else reshaped(site, x, (1, *shape))


@lowers(aten.max_pool2d.default)
def lower_max_pool2d(
    site: Site,
    x: fx.Node,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    ceil_mode: bool = False,
) -> fx.Node:
    """Largest value of each window."""
    if pair(dilation) != (1, 1) or ceil_mode:
        raise Refused("max pooling with dilation or ceil_mode has no private form")
    pooled = site.call(ops.max_pool2d, _image(site, x), pair(kernel), pair(stride or kernel), pair(padding))
    return reshaped(site, pooled, site.shape())


@lowers(aten.max_pool2d_with_indices.default)
def lower_max_pool2d_with_indices(site: Site, x: fx.Node, kernel: Sequence[int], *rest: Sequence[int]) -> list[fx.Node]:
    """As ``max_pool2d``; where the largest value is has no private form."""
    stride, padding = (*rest, (), (0, 0))[:2] if len(rest) < 2 else rest[:2]  # noqa: PLR2004 - stride and padding
    if len(rest) > 2:  # noqa: PLR2004 - stride and padding
        raise Refused("max pooling with dilation or ceil_mode has no private form")
    return [site.call(ops.max_pool2d, _image(site, x), pair(kernel), pair(stride or kernel), pair(padding or (0, 0)))]


@lowers(aten.avg_pool2d.default)
def lower_avg_pool2d(
    site: Site,
    x: fx.Node,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> fx.Node:
    """Mean of each window."""
    if ceil_mode or divisor_override or (not count_include_pad and pair(padding) != (0, 0)):
        raise Refused("average pooling with ceil_mode, a divisor or uncounted padding has no private form")
    pooled = site.call(ops.avg_pool2d, _image(site, x), pair(kernel), pair(stride or kernel), pair(padding))
    return reshaped(site, pooled, site.shape())


@lowers(aten.adaptive_avg_pool2d.default, aten._adaptive_avg_pool2d.default)  # noqa: SLF001 - its ATen name
def lower_adaptive_avg_pool2d(site: Site, x: fx.Node, _size: Sequence[int]) -> fx.Node:
    """Mean of equal windows, whose number is given instead of their size."""
    image, sizes = site.shape(x)[-2:], site.shape()[-2:]
    if sizes == (1, 1):
        return site.call(ops.mean, x, (len(site.shape(x)) - 2, len(site.shape(x)) - 1), True)
    if any(whole % parts for whole, parts in zip(image, sizes, strict=True)):
        raise Refused(f"{sizes} windows do not divide an image of {image} evenly")
    window = (image[0] // sizes[0], image[1] // sizes[1])
    return reshaped(site, site.call(ops.avg_pool2d, _image(site, x), window, window), site.shape())
