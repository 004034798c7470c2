"""Images made larger or smaller: along each dim every element is a public mixture of its neighbours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mpccompile.capture.from_onnx.registry import Refused, Site, imports

Places = NDArray[np.float64]

_ROUNDED: dict[str, Callable[[Places], Places]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _asymmetric(x: Places, scale: float, _old: int, _new: int) -> Places:
    return x / scale


def _half_pixel(x: Places, scale: float, _old: int, _new: int) -> Places:
    return (x + 0.5) / scale - 0.5


def _symmetric(x: Places, scale: float, old: int, new: int) -> Places:
    return old / 2 * (1 - new / (scale * old)) + _half_pixel(x, scale, old, new)


def _half_pixel_of_many(x: Places, scale: float, old: int, new: int) -> Places:
    return _half_pixel(x, scale, old, new) if new > 1 else np.zeros_like(x)


def _corners(x: Places, scale: float, old: int, new: int) -> Places:
    return x * (old - 1) / (scale * old - 1) if new > 1 else np.zeros_like(x)


_PLACES: dict[str, Callable[[Places, float, int, int], Places]] = {
    "asymmetric": _asymmetric,
    "half_pixel": _half_pixel,
    "half_pixel_symmetric": _symmetric,
    "pytorch_half_pixel": _half_pixel_of_many,
    "align_corners": _corners,
}
"""Where in the old dim an element of the new one lies, by the ``coordinate_transformation_mode``."""


@imports("Resize", sizes=(1, 2))
def resize(site: Site, x: Tensor, *_given: Tensor | None) -> Tensor:
    """Each element from its nearest neighbours, or mixed of the next two or four, along each dim."""
    if site.attribute("antialias", 0):
        raise Refused("antialias is not known")
    mode = site.attribute("coordinate_transformation_mode", "half_pixel") if site.opset > _FIRST else "asymmetric"
    if mode not in _PLACES:
        raise Refused(f"coordinate_transformation_mode {mode} is not known")
    for name in _OF_SOME_MODES:
        # A file may give what its mode has no use for.
        site.attribute(name)
    axes = [axis % x.dim() for axis in site.attribute("axes") or range(x.dim())]
    for axis, scale, size in _scaled(site, x, axes):
        if (scale, size) != (1.0, x.shape[axis]):
            places = _PLACES[mode](np.arange(size, dtype=np.float64), scale, x.shape[axis], size)
            x = _taken(site, x, axis, places)
    return x


@imports("Upsample", sizes=(1,))
def upsample(site: Site, x: Tensor, *_given: Tensor | None) -> Tensor:
    """As ``Resize``, which took its place, did at first."""
    scales = site.attribute("scales")
    for axis, scale in enumerate(_floats(site, 1) or [] if scales is None else scales):
        if scale != 1:
            size = math.floor(x.shape[axis] * scale)
            x = _taken(site, x, axis, np.arange(size, dtype=np.float64) / scale)
    return x


_OF_SOME_MODES = ("cubic_coeff_a", "exclude_outside", "extrapolation_value", "keep_aspect_ratio_policy", "nearest_mode")
_FIRST = 10
"""The opset of the first ``Resize``, which took no regions and no sizes."""


def _floats(site: Site, position: int) -> list[float] | None:
    value = site.constant(position)
    return None if value is None or not value.size else [float(each) for each in value.reshape(-1).tolist()]


def _scaled(site: Site, x: Tensor, axes: Sequence[int]) -> list[tuple[int, float, int]]:
    """Return each dim, how many times as large it becomes, and how many elements it has then."""
    scales = _floats(site, 2 if site.opset > _FIRST else 1)
    if scales is not None:
        return [(axis, scale, math.floor(x.shape[axis] * scale)) for axis, scale in zip(axes, scales, strict=True)]
    sizes = site.ints(3)
    if sizes is None:
        raise Refused("neither scales nor sizes are given")
    pairs = list(zip(axes, sizes, strict=True))
    policy = site.attribute("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return [(axis, size / x.shape[axis], size) for axis, size in pairs]
    scale = (min if policy == "not_larger" else max)(size / x.shape[axis] for axis, size in pairs)
    return [(axis, scale, math.floor(scale * x.shape[axis] + 0.5)) for axis in axes]


def _taken(site: Site, x: Tensor, axis: int, places: Places) -> Tensor:
    """Return the elements of a dim at places that may lie between two of them."""
    last, kind = x.shape[axis] - 1, site.attribute("mode", "nearest")
    if kind == "nearest":
        # Before opset 11 there was no choice.
        rounded = site.attribute("nearest_mode", "round_prefer_floor") if site.opset > _FIRST else "floor"
        nearest = np.clip(_ROUNDED[rounded](places), 0, last).astype(np.int64)
        return x.index_select(axis, torch.tensor(nearest.tolist()))
    weights = torch.tensor(_mixture(site, places, last, kind).tolist(), dtype=torch.float32)
    return torch.matmul(x.movedim(axis, -1), weights.t()).movedim(-1, axis)


def _mixture(site: Site, places: Places, last: int, kind: Any) -> NDArray[np.float64]:
    """Return what each element of the old dim [O] counts for in each of the new one [N]: [N, O]."""
    left = np.floor(places)
    ratio = places - left
    if kind == "linear":
        first, shares = 0, [1 - ratio, ratio]
    elif kind == "cubic":
        first, shares = -1, _cubic(ratio, site.factor("cubic_coeff_a", -0.75))
    else:
        raise Refused(f"mode {kind} is not known")
    weights = np.zeros((len(places), last + 1))
    excluded = site.attribute("exclude_outside", 0)
    for step, share in enumerate(shares, first):
        place = (left + step).astype(np.int64)
        inside = (place >= 0) & (place <= last)
        counted = share * inside if excluded else share
        np.add.at(weights, (np.arange(len(places)), np.clip(place, 0, last)), counted)
    return weights / weights.sum(1, keepdims=True) if excluded else weights


def _cubic(ratio: Places, a: float) -> list[Places]:
    """Return the weights of four neighbours by cubic convolution (Keys, IEEE TASSP 1981)."""
    far, near = [1 + ratio, 2 - ratio], [ratio, 1 - ratio]
    outer = [a * (((x - 5) * x + 8) * x - 4) for x in far]
    inner = [((a + 2) * x - (a + 3)) * x * x + 1 for x in near]
    return [outer[0], *inner, outer[1]]
