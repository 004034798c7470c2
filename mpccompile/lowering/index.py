"""Calls that read part of a tensor at public places."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import fx

from mpccompile.ir import ops
from mpccompile.ir.rewrite import value_of
from mpccompile.lowering.registry import Refused, Site, lowers
from mpccompile.lowering.shape import reshaped

if TYPE_CHECKING:
    from collections.abc import Sequence

aten = torch.ops.aten


def taken(site: Site, x: fx.Node, dim: int, start: int, stop: int, step: int = 1) -> fx.Node:
    """Return part of ``x`` along ``dim``; ``x`` itself where that is all of it."""
    if start == 0 and stop == site.shape(x)[dim] and step == 1:
        return x
    return site.call(ops.take, x, dim, start, stop, *(() if step == 1 else (step,)))


@lowers(aten.slice.Tensor)
def lower_slice(
    site: Site, x: fx.Node, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> fx.Node:
    """``slice`` is a take with both ends inside the tensor, or nothing where it is the whole of it."""
    dim = site.dim(dim, x)
    first, last, _ = slice(start, end, step).indices(site.shape(x)[dim])
    return taken(site, x, dim, first, max(first, last), step)


@lowers(aten.narrow.default)
def lower_narrow(site: Site, x: fx.Node, dim: int, start: int, length: int) -> fx.Node:
    """``narrow`` is a take."""
    dim = site.dim(dim, x)
    first = start % site.shape(x)[dim]
    return taken(site, x, dim, first, first + length)


@lowers(aten.select.int)
def lower_select(site: Site, x: fx.Node, dim: int, index: int) -> fx.Node:
    """``select`` is a take of one row, and a reshape that drops its dim."""
    dim = site.dim(dim, x)
    row = index % site.shape(x)[dim]
    return reshaped(site, taken(site, x, dim, row, row + 1), site.shape())


@lowers(aten.split.Tensor, aten.split_with_sizes.default, aten.split.sizes)
def lower_split(site: Site, x: fx.Node, sizes: int | Sequence[int], dim: int = 0) -> list[fx.Node]:
    """``split`` is one take per part."""
    dim = site.dim(dim, x)
    total = site.shape(x)[dim]
    if isinstance(sizes, int):
        sizes = [min(sizes, total - start) for start in range(0, total, sizes)]
    return _parts(site, x, dim, sizes)


@lowers(aten.chunk.default)
def lower_chunk(site: Site, x: fx.Node, chunks: int, dim: int = 0) -> list[fx.Node]:
    """``chunk`` is one take per part."""
    size = math.ceil(site.shape(x)[dim] / chunks)
    return lower_split(site, x, size, dim)


@lowers(aten.unbind.int)
def lower_unbind(site: Site, x: fx.Node, dim: int = 0) -> list[fx.Node]:
    """``unbind`` is one take per row, each without the dim."""
    dim = site.dim(dim, x)
    shape = site.shape(x)
    rows = _parts(site, x, dim, [1] * shape[dim])
    return [reshaped(site, row, (*shape[:dim], *shape[dim + 1 :])) for row in rows]


def _parts(site: Site, x: fx.Node, dim: int, sizes: Sequence[int]) -> list[fx.Node]:
    ends = [sum(sizes[: count + 1]) for count in range(len(sizes))]
    return [taken(site, x, dim, end - size, end) for size, end in zip(sizes, ends, strict=True)]


@lowers(aten.index_select.default)
def lower_index_select(site: Site, x: fx.Node, dim: int, index: fx.Node) -> fx.Node:
    """``index_select`` at public places gathers rows."""
    if site.is_secret(index):
        raise Refused("reading at a secret place has a private form in an embedding only")
    return site.call(ops.gather_rows, x, site.dim(dim, x), index)


@lowers(aten.index.Tensor)
def lower_index(site: Site, x: fx.Node, indices: Sequence[fx.Node | None]) -> fx.Node:
    """Indexing by public integers gathers rows of ``x`` with the indexed dims, which must be neighbours, joined to one.

    before: ``x[i, j]`` of x [A, B, C]
    after: ``gather_rows(reshape(x, [A * B, C]), 0, i * B + j)``, reshaped
    """
    used = [dim for dim, index in enumerate(indices) if index is not None]
    given = [index for index in indices if index is not None]
    if any(site.is_secret(index) for index in given):
        raise Refused("reading at a secret place has a private form in an embedding only")
    if any(value_of(index).dtype in (torch.bool, torch.uint8) for index in given):
        raise Refused("a selection by a mask has no shape known beforehand")
    first, last = used[0], used[-1]
    if len(used) != last - first + 1:
        raise Refused("the indexed dims are not neighbours")
    shape = site.shape(x)
    flat: fx.Node | None = None
    for index, size in zip(given, shape[first : last + 1], strict=True):
        inside = site.call(aten.remainder.Scalar, index, size)
        flat = inside if flat is None else site.call(aten.add.Tensor, site.call(aten.mul.Tensor, flat, size), inside)
    rows = site.call(aten.reshape.default, flat, [-1])
    joined = reshaped(site, x, (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))
    everything = site.known(rows)
    if everything is not None and torch.equal(everything, torch.arange(site.shape(joined)[first])):
        return reshaped(site, joined, site.shape())
    return reshaped(site, site.call(ops.gather_rows, joined, first, rows), site.shape())


@lowers(aten.gather.default)
def lower_gather(site: Site, x: fx.Node, dim: int, index: fx.Node, **_: object) -> fx.Node:
    """``gather`` at public places gathers single elements of the flat tensor."""
    if site.is_secret(index):
        raise Refused("reading at a secret place has a private form in an embedding only")
    shape, dim = site.shape(x), site.dim(dim, x)
    strides = [math.prod(shape[at + 1 :]) for at in range(len(shape))]
    places = torch.zeros((), dtype=torch.int64)
    for at, size in enumerate(site.shape(index)):
        if at != dim:
            row = torch.arange(size) * strides[at]
            places = places + row.reshape([size if other == at else 1 for other in range(len(shape))])
    steps = site.call(aten.mul.Tensor, index, strides[dim])
    flat = site.call(aten.add.Tensor, steps, site.constant("places", places))
    rows = site.call(aten.reshape.default, flat, [-1])
    whole = reshaped(site, x, (math.prod(shape),))
    return reshaped(site, site.call(ops.gather_rows, whole, 0, rows), site.shape())
