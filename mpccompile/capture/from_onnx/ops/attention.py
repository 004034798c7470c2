"""Attention, and the rotation of positions that goes before it."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from mpccompile.capture.from_onnx.registry import Answer, Refused, Site, imports

_FLAT = 3


def apart(x: Tensor, heads: int) -> Tensor:
    """Return x [B, T, heads * D] as [B, heads, T, D]."""
    return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def together(x: Tensor) -> Tensor:
    """Return x [B, heads, T, D] as [B, T, heads * D]."""
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], -1)


@imports("Attention")
def attention(
    site: Site,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    lengths: Tensor | None = None,
) -> Answer:
    """Attention over heads, which may share keys and values, after what a cache holds."""
    flat = query.dim() == _FLAT
    if flat:
        query = apart(query, site.attribute("q_num_heads"))
        key, value = (apart(each, site.attribute("kv_num_heads")) for each in (key, value))
    if past_key is not None and past_value is not None:
        key, value = torch.cat([past_key, key], 2), torch.cat([past_value, value], 2)
    if site.node.outputs[3:]:
        raise Refused("its scores cannot be asked for")
    before = key.shape[2] - query.shape[2] if past_key is not None else 0
    keep = _kept(site, query, key, before, lengths)
    if mask is not None and mask.shape[-1] < key.shape[2]:
        missing = key.shape[2] - mask.shape[-1]
        mask = functional.pad(mask, (0, missing), value=False if mask.dtype == torch.bool else float("-inf"))
    answer = attend(site, query, key, value, combined(mask, keep))
    present = (key, value) if site.results > 1 else ()
    return (together(answer) if flat else answer, *present)


def _kept(site: Site, query: Tensor, key: Tensor, before: int, lengths: Tensor | None) -> Tensor | None:
    """Return which keys each query may see: no later ones where attention is causal, and none beyond the lengths."""
    keep = None
    if site.attribute("is_causal", 0):
        keep = torch.ones((query.shape[2], key.shape[2]), dtype=torch.bool).tril(before)
    if lengths is not None:
        inside = torch.arange(key.shape[2]) < lengths.reshape(-1, 1, 1, 1)
        keep = inside if keep is None else torch.logical_and(keep, inside)
    return keep


def combined(mask: Tensor | None, keep: Tensor | None) -> Tensor | None:
    """Return one mask for both: bool, or one to be added."""
    if mask is None or keep is None:
        return keep if mask is None else mask
    if mask.dtype == torch.bool:
        return torch.logical_and(mask, keep)
    return torch.where(keep, mask, float("-inf"))


def attend(site: Site, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Return attention over [B, heads, T, D], with the scale and the cap of the scores that the file asks for."""
    scale, cap = site.attribute("scale"), site.attribute("softcap", 0.0)
    scale = scale if scale else None
    shared = query.shape[1] != key.shape[1]
    if not cap:
        if mask is not None and mask.dtype != torch.bool:
            mask = mask.to(query.dtype)
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, scale=scale, enable_gqa=shared
        )
    if shared:
        key, value = (each.repeat_interleave(query.shape[1] // key.shape[1], 1) for each in (key, value))
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = torch.tanh(torch.matmul(query, key.transpose(-1, -2)) * (factor / cap)) * cap
    if mask is not None:
        scores = torch.where(mask, scores, float("-inf")) if mask.dtype == torch.bool else scores + mask
    return torch.matmul(torch.softmax(scores, -1), value)


@imports("RotaryEmbedding")
def rotary(site: Site, x: Tensor, cosines: Tensor, sines: Tensor, positions: Tensor | None = None) -> Tensor:
    """Pairs of features turned by an angle that grows with the position; x [B, heads, T, D] or [B, T, heads * D]."""
    flat = x.dim() == _FLAT
    wide = apart(x, site.attribute("num_heads")) if flat else x
    if positions is not None:
        cosines, sines = (functional.embedding(positions, table) for table in (cosines, sines))
    turned = turn(site, wide, cosines.unsqueeze(1), sines.unsqueeze(1), site.attribute("rotary_embedding_dim", 0))
    return together(turned) if flat else turned


def turn(site: Site, x: Tensor, cosines: Tensor, sines: Tensor, width: int) -> Tensor:
    """Return x [B, heads, T, D] with its first ``width`` features turned, all of them where it is 0."""
    width = width or x.shape[-1]
    front, rest = x[..., :width], x[..., width:]
    cosines, sines = cosines[..., : width // 2], sines[..., : width // 2]
    if site.attribute("interleaved", 0):
        first, second = front[..., 0::2], front[..., 1::2]
        pairs = (first * cosines - second * sines, first * sines + second * cosines)
        turned = torch.stack(pairs, -1).reshape(front.shape)
    else:
        first, second = front.chunk(2, -1)
        turned = torch.cat([first * cosines - second * sines, first * sines + second * cosines], -1)
    return turned if rest.shape[-1] == 0 else torch.cat([turned, rest], -1)
