"""Operators that onnxruntime's optimiser puts in the place of several of ONNX's own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mpccompile.capture.from_onnx.ops.attention import apart, attend, combined, together, turn
from mpccompile.capture.from_onnx.registry import Answer, Refused, Site, imports

_MASK_DIMS = 2
_FLAT = 3


def _keep(mask: Tensor | None, length: int) -> Tensor | None:
    """Return which keys are no padding: from a mask [B, T], one [B, T, T], or lengths [B]."""
    if mask is None:
        return None
    if mask.dim() == 1:
        return torch.arange(length) < mask.reshape(-1, 1, 1, 1)
    if mask.dim() == _MASK_DIMS:
        return (mask != 0)[:, None, None, :]
    return (mask != 0)[:, None]


def _causal(site: Site, keep: Tensor | None, rows: int, columns: int) -> Tensor | None:
    if not site.attribute("unidirectional", 0):
        return keep
    return combined(torch.ones((rows, columns), dtype=torch.bool).tril(columns - rows), keep)


def _masked(keep: Tensor | None, bias: Tensor | None) -> Tensor | None:
    return combined(bias, keep)


@imports("com.microsoft.Attention")
def attention(
    site: Site,
    x: Tensor,
    weights: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    past: Tensor | None = None,
    added: Tensor | None = None,
    *_: Tensor | None,
) -> Tensor:
    """Attention with the projections of Q, K and V in one matrix [H, 3 * H]."""
    if past is not None or site.attribute("do_rotary", 0):
        raise Refused("a cache or a rotation inside of it is not known")
    heads = site.attribute("num_heads")
    projected = torch.matmul(x, weights)
    projected = projected if bias is None else projected + bias
    sizes = site.attribute("qkv_hidden_sizes") or [weights.shape[-1] // 3] * 3
    query, key, value = (apart(part, heads) for part in torch.split(projected, sizes, -1))
    keep = _causal(site, _keep(mask, key.shape[2]), query.shape[2], key.shape[2])
    return together(attend(site, query, key, value, _masked(keep, added)))


@imports("com.microsoft.MultiHeadAttention")
def multi_head_attention(
    site: Site,
    query: Tensor,
    key: Tensor | None = None,
    value: Tensor | None = None,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    added: Tensor | None = None,
    *past: Tensor | None,
) -> Tensor:
    """Attention of Q, K and V [B, T, H], to which a bias [3 * H] is added first."""
    if any(each is not None for each in past) or key is None or value is None:
        raise Refused("a cache, or Q, K and V in one tensor, is not known")
    if query.dim() != key.dim():
        raise Refused("K and V in another layout than Q are not known")
    if bias is not None:
        parts = torch.split(bias, [query.shape[-1], key.shape[-1], value.shape[-1]])
        query, key, value = (each + part for each, part in zip((query, key, value), parts, strict=True))
    heads = site.attribute("num_heads")
    wide = [apart(each, heads) for each in (query, key, value)]
    keep = _causal(site, _keep(mask, wide[1].shape[2]), wide[0].shape[2], wide[1].shape[2])
    return together(attend(site, wide[0], wide[1], wide[2], _masked(keep, added)))


@imports("com.microsoft.EmbedLayerNormalization")
def embed_layer_norm(  # noqa: PLR0913, PLR0917 - its inputs
    site: Site,
    ids: Tensor,
    segments: Tensor | None,
    words: Tensor,
    positions: Tensor,
    kinds: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    mask: Tensor | None = None,
    places: Tensor | None = None,
) -> Answer:
    """The sum of three embeddings, normalised; the lengths that a mask [B, T] says; and the sum."""
    total = functional.embedding(ids, words)
    total = total + (positions[: ids.shape[1]] if places is None else functional.embedding(places, positions))
    if segments is not None and kinds is not None:
        total = total + functional.embedding(segments, kinds)
    normal = functional.layer_norm(total, total.shape[-1:], weight, bias, site.attribute("epsilon", 1e-12))
    lengths = None if mask is None else torch.sum(mask, 1, dtype=torch.int64)
    if lengths is None:
        lengths = torch.zeros(ids.shape[0], dtype=torch.int64)
    return normal, lengths, total


@imports("com.microsoft.RotaryEmbedding")
def rotary(site: Site, x: Tensor, positions: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Pairs of features turned; positions [B, T], or the first of them [1]."""
    flat, heads = x.dim() == _FLAT, site.attribute("num_heads", 0)
    heads = heads or x.shape[-1] // (2 * cosines.shape[-1])
    wide = apart(x, heads) if flat else x
    if positions.dim() == 1:
        positions = (positions + torch.arange(wide.shape[2])).unsqueeze(0)
    rows = [functional.embedding(positions, table).unsqueeze(1) for table in (cosines, sines)]
    turned = turn(site, wide, rows[0], rows[1], site.attribute("rotary_embedding_dim", 0))
    return together(turned) if flat else turned
