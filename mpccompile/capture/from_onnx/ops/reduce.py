"""Sums, means and extremes along axes."""

from __future__ import annotations

import torch
from torch import Tensor

from mpccompile.capture.from_onnx.registry import Answer, Refused, Site, imports


def _over(site: Site, x: Tensor) -> list[int] | None:
    """Return the axes to reduce, all of them where none is named, None where the file asks for nothing."""
    axes, nothing = site.axes(), site.attribute("noop_with_empty_axes", 0)
    if axes:
        return axes
    # Where nothing is reduced, there is no dim to keep either.
    _kept(site)
    return None if nothing else list(range(x.dim()))


def _kept(site: Site) -> bool:
    return bool(site.attribute("keepdims", 1))


@imports("ReduceSum", "ReduceMean", "ReduceSumSquare", "ReduceL2", "ReduceL1")
def reduce_sum(site: Site, x: Tensor, *_: Tensor | None) -> Tensor:
    """Sums and means, of the values, their squares or their sizes."""
    of = {"ReduceSumSquare": torch.square, "ReduceL2": torch.square, "ReduceL1": torch.abs}.get(site.op)
    x = x if of is None else of(x)
    axes = _over(site, x)
    if axes is not None and x.dim():
        reduced = torch.mean if site.op == "ReduceMean" else torch.sum
        x = reduced(x, axes, keepdim=_kept(site)).to(x.dtype)
    return torch.sqrt(x) if site.op == "ReduceL2" else x


@imports("ReduceMax", "ReduceMin", "ReduceProd", "ReduceLogSum", "ReduceLogSumExp", private=False)
def reduce_public(site: Site, x: Tensor, *_: Tensor | None) -> Tensor:
    """Extremes, products and logarithms of sums, which have no private form."""
    axes = _over(site, x)
    if axes is None or not x.dim():
        return torch.log(x) if site.op == "ReduceLogSum" else x
    if site.op == "ReduceProd":
        for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
            x = torch.prod(x, axis, keepdim=_kept(site)).to(x.dtype)
        return x
    if site.op in ("ReduceMax", "ReduceMin"):
        return _extreme(site, x, axes)
    if site.op == "ReduceLogSum":
        return torch.log(torch.sum(x, axes, keepdim=_kept(site)))
    return torch.logsumexp(x, axes, keepdim=_kept(site))


def _extreme(site: Site, x: Tensor, axes: list[int]) -> Tensor:
    if x.numel() == 0:
        raise Refused("it reduces an empty tensor")
    reduced = torch.amax if site.op == "ReduceMax" else torch.amin
    if x.dtype == torch.bool:
        return reduced(x.to(torch.uint8), axes, keepdim=_kept(site)).bool()
    return reduced(x, axes, keepdim=_kept(site))


@imports("ArgMax", "ArgMin")
def arg_extreme(site: Site, x: Tensor) -> Tensor:
    """Where the largest or smallest element along one axis is: the first such place, or the last if asked for."""
    axis, last = site.attribute("axis", 0), bool(site.attribute("select_last_index", 0))
    found = torch.argmax if site.op == "ArgMax" else torch.argmin
    places: Tensor = found(x.flip(axis) if last else x, axis, keepdim=_kept(site))
    return x.shape[axis] - 1 - places if last else places


@imports("TopK", private=False)
def top_k(site: Site, x: Tensor, *_: Tensor) -> Answer:
    """The largest or smallest elements along one axis, and their places."""
    count = site.ints(1)
    if count is None:
        raise Refused("how many to take is missing")
    axis, largest = site.attribute("axis", -1), bool(site.attribute("largest", 1))
    values, places = torch.sort(x, dim=axis, descending=largest, stable=True)
    return values.narrow(axis, 0, count[0]), places.narrow(axis, 0, count[0])
