"""Convolutions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.nn import functional

from mpccompile.capture.from_onnx.registry import Refused, Site, imports

_CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED: dict[int, Callable[..., Tensor]] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


def pads_of(site: Site, sizes: Sequence[int], kernel: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return how much is added before and after each dim of an image."""
    dims = len(kernel)
    mode, pads = site.attribute("auto_pad", "NOTSET"), site.attribute("pads") or [0] * (2 * dims)
    if mode in ("NOTSET", ""):
        return pads[:dims], pads[dims:]
    if mode == "VALID":
        return [0] * dims, [0] * dims
    strides, dilations = site.attribute("strides") or [1] * dims, site.attribute("dilations") or [1] * dims
    totals = [
        max((-(-size // stride) - 1) * stride + (width - 1) * dilation + 1 - size, 0)
        for size, width, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True)
    ]
    smaller = [total // 2 for total in totals]
    larger = [total - less for total, less in zip(totals, smaller, strict=True)]
    return (smaller, larger) if mode == "SAME_UPPER" else (larger, smaller)


def padded(x: Tensor, before: Sequence[int], after: Sequence[int], value: float = 0.0) -> Tensor:
    """Return an image with more around it."""
    sides = [each for pair in zip(reversed(before), reversed(after), strict=True) for each in pair]
    return functional.pad(x, sides, value=value) if any(sides) else x


@imports("Conv")
def conv(site: Site, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A convolution over one to three dims."""
    kernel = weight.shape[2:]
    if len(kernel) not in _CONVOLUTIONS:
        raise Refused(f"a convolution over {len(kernel)} dims is not known")
    before, after = pads_of(site, x.shape[2:], kernel)
    if before != after:
        x, before = padded(x, before, after), [0] * len(kernel)
    strides, dilations = site.attribute("strides") or 1, site.attribute("dilations") or 1
    return _CONVOLUTIONS[len(kernel)](x, weight, bias, strides, before, dilations, site.attribute("group", 1))


@imports("ConvTranspose", private=False)
def conv_transpose(site: Site, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A transposed convolution over one to three dims."""
    dims = weight.dim() - 2
    if site.attribute("auto_pad", "NOTSET") not in ("NOTSET", "") or site.attribute("output_shape"):
        raise Refused("a transposed convolution with automatic padding is not known")
    pads = site.attribute("pads") or [0] * (2 * dims)
    before, after = pads[:dims], pads[dims:]
    extra = [less - more for less, more in zip(before, after, strict=True)]
    given = site.attribute("output_padding") or [0] * dims
    strides, dilations = site.attribute("strides") or [1] * dims, site.attribute("dilations") or [1] * dims
    outer = [more + each for more, each in zip(extra, given, strict=True)]
    if any(each < 0 or each >= max(stride, rate) for each, stride, rate in zip(outer, strides, dilations, strict=True)):
        raise Refused("a transposed convolution with such uneven padding is not known")
    return _TRANSPOSED[dims](x, weight, bias, strides, before, outer, site.attribute("group", 1), dilations)
