"""Pooling over windows of an image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from mpccompile.capture.from_onnx.ops.conv import padded, pads_of
from mpccompile.capture.from_onnx.registry import Refused, Site, imports

_LARGEST: dict[int, Callable[..., Tensor]] = {
    1: functional.max_pool1d,
    2: functional.max_pool2d,
    3: functional.max_pool3d,
}
_MEAN: dict[int, Callable[..., Tensor]] = {
    1: functional.avg_pool1d,
    2: functional.avg_pool2d,
    3: functional.avg_pool3d,
}


def _ceiled(site: Site, x: Tensor, before: list[int], after: list[int]) -> list[int]:
    """Return how much more is added at the end so that the last window, cut off by the border, counts."""
    kernel = site.attribute("kernel_shape")
    if not site.attribute("ceil_mode", 0):
        return [0] * len(kernel)
    strides, dilations = (
        site.attribute("strides") or [1] * len(kernel),
        site.attribute("dilations") or [1] * len(kernel),
    )
    extra = []
    for dim, width in enumerate(kernel):
        size, stride = x.shape[2 + dim] + before[dim] + after[dim], strides[dim]
        reach = (width - 1) * dilations[dim] + 1
        windows = -(-(size - reach) // stride) + 1
        # A window that starts beyond the image and what is added before its end counts for nothing.
        windows -= (windows - 1) * stride >= x.shape[2 + dim] + before[dim]
        extra.append(max((windows - 1) * stride + reach - size, 0))
    return extra


@imports("MaxPool")
def max_pool(site: Site, x: Tensor) -> Tensor:
    """The largest element of each window."""
    kernel = site.attribute("kernel_shape")
    before, after = pads_of(site, x.shape[2:], kernel)
    after = [more + extra for more, extra in zip(after, _ceiled(site, x, before, after), strict=True)]
    if before != after or any(2 * less > width for less, width in zip(before, kernel, strict=True)):
        x, before = padded(x, before, after, float("-inf")), [0] * len(kernel)
    strides, dilations = site.attribute("strides") or 1, site.attribute("dilations") or 1
    return _LARGEST[len(kernel)](x, kernel, strides, before, dilations)


@imports("AveragePool")
def average_pool(site: Site, x: Tensor) -> Tensor:
    """The mean of each window; what is added around the image is counted where the file says so."""
    kernel, counted = site.attribute("kernel_shape"), site.attribute("count_include_pad", 0)
    if any(rate != 1 for rate in site.attribute("dilations") or []):
        raise Refused("an average over windows with gaps is not known")
    before, after = pads_of(site, x.shape[2:], kernel)
    extra = _ceiled(site, x, before, after)
    strides = site.attribute("strides") or [1] * len(kernel)
    end = [more + each for more, each in zip(after, extra, strict=True)]
    pooled: Tensor = _MEAN[len(kernel)](padded(x, before, end), kernel, strides)
    if not any((*before, *end)):
        return pooled
    inside = torch.ones((1, 1, *x.shape[2:]))
    counts = (
        padded(padded(inside, before, after, 1.0), [0] * len(kernel), extra) if counted else padded(inside, before, end)
    )
    share = _MEAN[len(kernel)](counts, kernel, strides)
    return pooled * torch.reciprocal(share)


@imports("GlobalAveragePool")
def global_average_pool(_site: Site, x: Tensor) -> Tensor:
    """The mean of each channel of x [N, C, ...]."""
    return torch.mean(x, list(range(2, x.dim())), keepdim=True)


@imports("GlobalMaxPool")
def global_max_pool(_site: Site, x: Tensor) -> Tensor:
    """The largest element of each channel of x [N, C, ...]."""
    flat = x.reshape(x.shape[0], x.shape[1], 1, -1)
    return functional.max_pool2d(flat, (1, flat.shape[-1])).reshape(*x.shape[:2], *[1] * (x.dim() - 2))
