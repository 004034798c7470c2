"""Attention, and the rotation of positions that goes before it."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from mpccompile.capture.from_onnx.registry import Answer, Site, imports

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
    heads, shared = site.attribute("q_num_heads"), site.attribute("kv_num_heads")
    flat = query.dim() == _FLAT
    if flat:
        query, key, value = apart(query, heads), apart(key, shared), apart(value, shared)
    first: Tensor | int = 0
    if past_key is not None and past_value is not None:
        key, value, first = torch.cat([past_key, key], 2), torch.cat([past_value, value], 2), past_key.shape[2]
    elif lengths is not None:
        first = lengths.reshape(-1, 1, 1, 1) - query.shape[2]
    keep = _kept(site, query.shape[2], key.shape[2], first)
    if lengths is not None:
        keep = combined(torch.arange(key.shape[2]) < lengths.reshape(-1, 1, 1, 1), keep)
    if mask is not None and mask.shape[-1] < key.shape[2]:
        missing = key.shape[2] - mask.shape[-1]
        mask = functional.pad(mask, (0, missing), value=False if mask.dtype == torch.bool else float("-inf"))
    answer = attend(site, query, key, value, combined(mask, keep))
    return together(answer) if flat else answer, key, value


def _kept(site: Site, queries: int, keys: int, first: Tensor | int) -> Tensor | None:
    """Return which keys each query may see, where attention is causal or has a window; ``first`` is query 0's place."""
    left, right = site.attribute("left_window_size", -1), site.attribute("right_window_size", -1)
    far = torch.arange(keys) - (torch.arange(queries).unsqueeze(-1) + first)
    keep = far <= 0 if site.attribute("is_causal", 0) else None
    if left >= 0:
        keep = combined(far >= -left, keep)
    return combined(far <= right, keep) if right >= 0 else keep


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
    weights: Tensor = torch.ops.aten._safe_softmax.default(scores, -1)  # noqa: SLF001 - its ATen name
    return torch.matmul(weights, value)


@imports("RotaryEmbedding")
def rotary(site: Site, x: Tensor, cosines: Tensor, sines: Tensor, positions: Tensor | None = None) -> Tensor:
    """Pairs of features turned by an angle that grows with the position; x [B, heads, T, D] or [B, T, heads * D]."""
    flat, heads = x.dim() == _FLAT, site.attribute("num_heads")
    wide = apart(x, heads) if flat else x
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
