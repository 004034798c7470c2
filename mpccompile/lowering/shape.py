"""Calls that move elements and compute nothing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import fx

from mpccompile.ir import ops
from mpccompile.ir.rewrite import value_of
from mpccompile.lowering.registry import Refused, Site, lowers
from mpccompile.lowering.values import is_truth

if TYPE_CHECKING:
    from collections.abc import Sequence

aten = torch.ops.aten


def reshaped(site: Site, x: fx.Node, shape: Sequence[int]) -> fx.Node:
    """Return ``x`` in another shape; ``x`` itself where it has that shape."""
    return x if site.shape(x) == tuple(shape) else site.call(ops.reshape, x, tuple(shape))


def permuted(site: Site, x: fx.Node, dims: Sequence[int]) -> fx.Node:
    """Return ``x`` with its dims in another order; ``x`` itself where the order is the same."""
    front = tuple(site.dim(dim, x) for dim in dims)
    return x if front == tuple(range(len(front))) else site.call(ops.permute, x, front)


def expanded(site: Site, x: fx.Node, shape: Sequence[int]) -> fx.Node:
    """Return ``x`` broadcast to ``shape``; ``x`` itself where it has that shape."""
    return x if site.shape(x) == tuple(shape) else site.call(ops.expand, x, tuple(shape))


def swapped(site: Site, x: fx.Node, first: int, second: int) -> fx.Node:
    """Return ``x`` with two dims exchanged."""
    order = list(range(len(site.shape(x))))
    if order:
        first, second = site.dim(first, x), site.dim(second, x)
        order[first], order[second] = order[second], order[first]
    return permuted(site, x, order)


@lowers(
    aten.view.default,
    aten._unsafe_view.default,  # noqa: SLF001 - its ATen name
    aten.reshape.default,
    aten.unsqueeze.default,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.flatten.using_ints,
    aten.unflatten.int,
)
def lower_reshape(site: Site, x: fx.Node, *_: object) -> fx.Node:
    """``view``, ``unsqueeze``, ``flatten`` and kin are a reshape to the shape that is known, or nothing."""
    return reshaped(site, x, site.shape())


@lowers(
    aten.clone.default,
    aten.alias.default,
    aten.detach.default,
    aten.contiguous.default,
    aten.lift_fresh_copy.default,
    aten.dropout.default,
    aten._to_copy.default,  # noqa: SLF001 - its ATen name
    aten.to.dtype,
    aten.to.dtype_layout,
    aten.type_as.default,
)
def lower_copy(site: Site, x: fx.Node, *_: object, **__: object) -> fx.Node:
    """A copy is nothing, and so is a cast that loses nothing in fixed point."""
    before, after = value_of(x).dtype, value_of(site.node).dtype
    truth = x in site.booleans or is_truth(site, x)
    if after == torch.bool and not truth:
        raise Refused("a comparison of a secret value with 0 has no private form")
    if before.is_floating_point and not after.is_floating_point and not truth:
        raise Refused("rounding a secret value has no private form")
    return x


@lowers(aten.transpose.int, aten.swapaxes.default, aten.swapdims.default)
def lower_transpose(site: Site, x: fx.Node, dim0: int, dim1: int) -> fx.Node:
    """``transpose`` is a permute."""
    return swapped(site, x, dim0, dim1)


@lowers(aten.t.default, aten.numpy_T.default, aten.mT.default)
def lower_t(site: Site, x: fx.Node) -> fx.Node:
    """``t`` exchanges the last two dims of a matrix, and is nothing on a vector."""
    return swapped(site, x, -1, -2) if len(site.shape(x)) > 1 else x


@lowers(aten.permute.default)
def lower_permute(site: Site, x: fx.Node, dims: Sequence[int]) -> fx.Node:
    """``permute`` with dims counted from the front."""
    return permuted(site, x, dims)


@lowers(aten.expand.default, aten.expand_as.default)
def lower_expand(site: Site, x: fx.Node, *_: object, **__: object) -> fx.Node:
    """``expand`` with the shape in full."""
    return expanded(site, x, site.shape())


@lowers(aten.repeat.default)
def lower_repeat(site: Site, x: fx.Node, repeats: Sequence[int]) -> fx.Node:
    """``repeat`` broadcasts each dim over a new one in front of it, then joins the two."""
    sizes = (1,) * (len(repeats) - len(site.shape(x))) + site.shape(x)
    narrow = [part for size in sizes for part in (1, size)]
    wide = [part for times, size in zip(repeats, sizes, strict=True) for part in (times, size)]
    return reshaped(site, expanded(site, reshaped(site, x, narrow), wide), site.shape())


@lowers(aten.repeat_interleave.self_int)
def lower_repeat_interleave(site: Site, x: fx.Node, repeats: int, dim: int | None = None, **_: object) -> fx.Node:
    """``repeat_interleave`` by one number broadcasts over a new dim behind the repeated one."""
    if dim is None:
        x, dim = reshaped(site, x, (math.prod(site.shape(x)),)), 0
    shape, at = site.shape(x), site.dim(dim, x) + 1
    narrow, wide = (*shape[:at], 1, *shape[at:]), (*shape[:at], repeats, *shape[at:])
    return reshaped(site, expanded(site, reshaped(site, x, narrow), wide), site.shape())


@lowers(aten.cat.default, aten.concat.default)
def lower_cat(site: Site, tensors: Sequence[fx.Node], dim: int = 0) -> fx.Node:
    """``cat`` is a concat; empty one-dimensional parts, which torch allows, are left out."""
    parts = [part for part in tensors if site.shape(part) != (0,)]
    return parts[0] if len(parts) == 1 else site.call(ops.concat, tuple(parts), site.dim(dim, parts[0]))


@lowers(aten.stack.default)
def lower_stack(site: Site, tensors: Sequence[fx.Node], dim: int = 0) -> fx.Node:
    """``stack`` is a concat along a new dim."""
    at = site.dim(dim, site.node)
    shape = site.shape(tensors[0])
    return site.call(ops.concat, tuple(reshaped(site, part, (*shape[:at], 1, *shape[at:])) for part in tensors), at)


@lowers(aten.flip.default)
def lower_flip(site: Site, x: fx.Node, dims: Sequence[int]) -> fx.Node:
    """``flip`` reads the rows of each dim from the last to the first."""
    for dim in dims:
        size = site.shape(x)[dim]
        index = site.constant("backwards", torch.arange(size - 1, -1, -1))
        x = site.call(ops.gather_rows, x, site.dim(dim, x), index)
    return x


@lowers(aten.constant_pad_nd.default, aten.pad.default)
def lower_pad(
    site: Site, x: fx.Node, pad: Sequence[int], *rest: object, mode: str = "constant", value: float = 0.0
) -> fx.Node:
    """Padding with a constant is a concat with public constants; negative padding is a take."""
    options = [option for option in rest if option is not None]
    if mode != "constant" or (options and isinstance(options[0], str) and options[0] != "constant"):
        raise Refused("only padding with a constant has a private form")
    fill = next((float(option) for option in options if isinstance(option, float | int)), float(value or 0.0))
    for index in range(len(pad) // 2):
        dim = len(site.shape(x)) - 1 - index
        before, after = pad[2 * index], pad[2 * index + 1]
        size = site.shape(x)[dim]
        if before < 0 or after < 0:
            x = site.call(ops.take, x, dim, max(-before, 0), size - max(-after, 0))
        sides = [_filled(site, x, dim, count, fill) for count in (before, after)]
        parts = [part for part in (sides[0], x, sides[1]) if part is not None]
        x = x if len(parts) == 1 else site.call(ops.concat, tuple(parts), dim)
    return x


def _filled(site: Site, x: fx.Node, dim: int, count: int, fill: float) -> fx.Node | None:
    if count <= 0:
        return None
    shape = site.shape(x)
    return site.constant("padding", torch.full((*shape[:dim], count, *shape[dim + 1 :]), fill))
