"""What reads or writes part of a tensor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mpccompile.capture.from_onnx.registry import Array, Refused, Site, imports

_TABLE_DIMS = 2


@imports("Gather")
def gather(site: Site, x: Tensor, indices: Tensor) -> Tensor:
    """Rows along an axis; places that come with the input read a table of weights as an embedding does."""
    axis = site.attribute("axis", 0) % x.dim()
    known = site.known[1]
    if known is None and axis == 0 and x.dim() == _TABLE_DIMS and x.is_floating_point():
        return functional.embedding(indices, x)
    if known is not None and known.ndim == 0:
        return x.select(axis, int(known.item()))
    places = indices.reshape(-1)
    if known is not None:
        start, count = _run(np.remainder(known.reshape(-1), x.shape[axis]))
        rows = x.narrow(axis, start, count) if count else x.index_select(axis, places % x.shape[axis])
    else:
        rows = x.index_select(axis, torch.remainder(places, x.shape[axis]))
    return rows.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def _run(places: Array) -> tuple[int, int]:
    """Return the first place and how many follow one another; none where they do not."""
    listed = [int(place) for place in places.tolist()]
    if not listed or listed != list(range(listed[0], listed[0] + len(listed))):
        return 0, 0
    return listed[0], len(listed)


@imports("Slice", view=True)
def slice_(site: Site, x: Tensor, *_: Tensor | None) -> Tensor:
    """Part of a tensor, along each axis from a start to an end, in steps that may go backwards."""
    starts, ends = site.ints(1), site.ints(2)
    if starts is None or ends is None:
        raise Refused("where it starts or ends is missing")
    axes = site.ints(3) or list(range(len(starts)))
    steps = site.ints(4) or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        x = _sliced(x, axis % x.dim(), start, end, step)
    return x


def _sliced(x: Tensor, axis: int, start: int, end: int, step: int) -> Tensor:
    size = x.shape[axis]
    # An end before the first element is written as a number beyond any size: to Python's slice that is None.
    stop = None if step < 0 and end < -size else end
    first, last, stride = slice(start, stop, step).indices(size)
    if stride > 0:
        index = (slice(None),) * axis + (slice(first, max(first, last), stride),)
        return x[index]
    return x.index_select(axis, torch.arange(first, min(first, last), stride))


@imports("GatherElements")
def gather_elements(site: Site, x: Tensor, indices: Tensor) -> Tensor:
    """One element per place, along an axis."""
    axis = site.attribute("axis", 0)
    return torch.gather(x, axis, torch.remainder(indices, x.shape[axis]).long())


@imports("GatherND")
def gather_nd(site: Site, x: Tensor, indices: Tensor) -> Tensor:
    """Slices of a tensor at places that name several dims."""
    batch, depth = site.attribute("batch_dims", 0), indices.shape[-1]
    front = [_grid(indices, dim) for dim in range(batch)]
    places = [torch.remainder(indices[..., part], x.shape[batch + part]) for part in range(depth)]
    return x[(*front, *places)]


def _grid(indices: Tensor, dim: int) -> Tensor:
    shape = [1] * (indices.dim() - 1)
    shape[dim] = indices.shape[dim]
    return torch.arange(indices.shape[dim]).reshape(shape)


_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


@imports("ScatterElements", "Scatter", private=False)
def scatter_elements(site: Site, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """Elements written over others, or combined with them, along an axis."""
    axis, reduction = site.attribute("axis", 0), site.attribute("reduction", "none")
    places = torch.remainder(indices, x.shape[axis]).long()
    if reduction == "none":
        return torch.scatter(x, axis, places, updates)
    return torch.scatter_reduce(x, axis, places, updates, _REDUCTIONS[reduction])


@imports("ScatterND", private=False)
def scatter_nd(site: Site, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """Slices written over others, or combined with them."""
    reduction, depth = site.attribute("reduction", "none"), indices.shape[-1]
    flat = x.reshape(-1, *x.shape[depth:])
    row = torch.zeros(indices.shape[:-1], dtype=torch.int64)
    for part in range(depth):
        row = row * x.shape[part] + torch.remainder(indices[..., part], x.shape[part])
    row, values = row.reshape(-1), updates.reshape(-1, *x.shape[depth:])
    if reduction == "none":
        return flat.index_copy(0, row, values).reshape(x.shape)
    wide = row.reshape(-1, *[1] * (flat.dim() - 1)).expand(values.shape)
    return torch.scatter_reduce(flat, 0, wide, values, _REDUCTIONS[reduction]).reshape(x.shape)


def _known(site: Site, operands: Sequence[Tensor | None]) -> None:
    if any(known is None and operand is not None for known, operand in zip(site.known, operands, strict=False)):
        raise Refused("the shape of its result depends on values")


@imports("NonZero", private=False)
def non_zero(site: Site, x: Tensor) -> Tensor:
    """The places of what is not 0, known at import."""
    _known(site, [x])
    return torch.nonzero(x).t().contiguous()


@imports("Compress", private=False)
def compress(site: Site, x: Tensor, _condition: Tensor) -> Tensor:
    """The rows along an axis where a condition, known at import, holds."""
    keep = torch.tensor(site.ints(1) or [], dtype=torch.bool)
    axis = site.attribute("axis")
    x, axis = (x.reshape(-1), 0) if axis is None else (x, axis)
    return x.index_select(axis, torch.nonzero(keep).reshape(-1))


@imports("OneHot", private=False)
def one_hot(site: Site, indices: Tensor, _depth: Tensor, values: Tensor) -> Tensor:
    """One value at a place along a new axis, another elsewhere."""
    depth, axis = site.ints(1), site.attribute("axis", -1)
    if depth is None:
        raise Refused("how many places there are is missing")
    axis = axis % (indices.dim() + 1)
    places = torch.arange(depth[0]).reshape(-1, *[1] * (indices.dim() - axis))
    front = torch.where(indices < 0, indices + depth[0], indices).unsqueeze(axis)
    return torch.where(front == places, values[1], values[0])
