"""Softmax and attention."""

from __future__ import annotations

import math

import torch
from torch import fx

from mpccompile.ir import ops
from mpccompile.lowering.elementwise import product, total
from mpccompile.lowering.masks import dtype_is_bool, split, trimmed
from mpccompile.lowering.registry import Empty, Refused, Site, Split, lowers
from mpccompile.lowering.shape import expanded, reshaped, swapped
from mpccompile.lowering.values import varies_by_row

aten = torch.ops.aten


@lowers(
    aten.softmax.int,
    aten._softmax.default,  # noqa: SLF001 - its ATen name
    aten._safe_softmax.default,  # noqa: SLF001 - its ATen name
)
def lower_softmax(site: Site, x: fx.Node, dim: int, *_: object, **__: object) -> fx.Node:
    """Softmax over any dim, its mask given as a bool tensor.

    A row with nothing to keep gives what torch gives: 0 where it was masked with -inf or a bool (as in
    scaled_dot_product_attention), an average where it was masked with a huge negative number. The exception is a mask
    that is the same for all queries or secret: a sequence of padding alone gives 0.
    """
    last = len(site.shape(x)) - 1
    if site.dim(dim, x) == last:
        return _softmax(site, split(site, x), site.shape(x))
    moved = swapped(site, x, dim, last)
    return swapped(site, _softmax(site, split(site, moved), site.shape(moved)), dim, last)


def _softmax(site: Site, scores: Split, shape: tuple[int, ...]) -> fx.Node:
    finite = scores.finite if scores.finite is not None else site.constant("scores", torch.zeros(shape))
    keep = trimmed(site, scores.keep)
    wide = expanded(site, finite, shape)
    if keep is None:
        return site.call(ops.softmax, wide)
    if scores.empty and not site.is_secret(keep) and varies_by_row(site, keep):
        wide, keep = _averaged(site, wide, keep, scores.empty)
    return site.call(ops.softmax, wide, keep)


def _averaged(site: Site, scores: fx.Node, keep: fx.Node, empty: Empty) -> tuple[fx.Node, fx.Node]:
    """Keep everything in rows that keep nothing, with the same score for all where the mask left nothing of them."""
    if f"dead {keep.name}" not in site.stored:
        found = site.call(aten.logical_not.default, site.call(aten.any.dim, keep, -1, True))
        site.stored[f"dead {keep.name}"] = found
        site.stored[f"kept {keep.name}"] = site.call(aten.logical_or.default, keep, found)
    dead, everything = site.stored[f"dead {keep.name}"], site.stored[f"kept {keep.name}"]
    data = site.known(dead)
    if data is not None and not bool(data.any()):
        return scores, keep
    return site.call(ops.where, dead, 0.0, scores) if empty is Empty.MEAN else scores, everything


@lowers(aten.scaled_dot_product_attention.default)
def lower_attention(  # noqa: PLR0913 - the arguments of its ATen schema
    site: Site,
    query: fx.Node,
    key: fx.Node,
    value: fx.Node,
    attn_mask: fx.Node | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> fx.Node:
    """Attention as products and a softmax; query [..., H, L, E], key and value [..., H or fewer, S, E].

    The scale is applied to the query, which is smaller than the scores. A float mask is split into the part that is
    added (it may be secret, as T5's position bias) and the bool part.
    """
    if dropout_p:
        raise Refused("dropout is active")
    heads, width = site.shape(query)[-3:-2], site.shape(query)[-1]
    if enable_gqa:
        key, value = (_shared_heads(site, shared, heads[0]) for shared in (key, value))
    scaled = product(site, query, 1 / math.sqrt(width) if scale is None else scale)
    scores = site.call(ops.matmul, scaled, swapped(site, key, -1, -2))
    masked = _mask(site, attn_mask, is_causal, site.shape(scores)[-2:])
    if masked.finite is not None:
        scores = total(site, scores, masked.finite)
    return site.call(ops.matmul, _softmax(site, Split(scores, masked.keep, masked.empty), site.shape(scores)), value)


def _mask(site: Site, mask: fx.Node | None, is_causal: bool, sizes: tuple[int, ...]) -> Split:
    if is_causal:
        return Split(None, site.constant("causal", torch.ones(sizes, dtype=torch.bool).tril()))
    if mask is None:
        return Split(None, None)
    return Split(None, mask) if dtype_is_bool(site, mask) else split(site, mask)


def _shared_heads(site: Site, x: fx.Node, heads: int) -> fx.Node:
    """Give each query head its copy of the key or value head it shares."""
    shape = site.shape(x)
    if shape[-3] == heads:
        return x
    *front, groups, length, width = shape
    apart = reshaped(site, x, (*front, groups, 1, length, width))
    wide = expanded(site, apart, (*front, groups, heads // groups, length, width))
    return reshaped(site, wide, (*front, heads, length, width))


@lowers(aten.log_softmax.int, aten._log_softmax.default)  # noqa: SLF001 - its ATen name
def refuse_log_softmax(_site: Site, *_: object, **__: object) -> fx.Node:
    """A logarithm has no private form; the class with the largest score is the same without it."""
    raise Refused("a logarithm has no private form; return the scores themselves")
