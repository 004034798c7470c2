"""What constant attention starts from: how a teacher attends on average."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mpccompile.errors import DataError
from mpccompile.merge.families import family_of
from mpccompile.merge.mixing import causal


@dataclass(frozen=True)
class Averages:
    """What a teacher does on average over some texts, layer by layer.

    Attributes:
        attention: Rows of weights by position, [H, L, L] each; rows add up to 1 and look back only.
        inverse_deviations: By what the norm before each attention divides, inverted.
    """

    attention: tuple[Tensor, ...]
    inverse_deviations: tuple[float, ...]


def averages(model: Any, texts: Iterable[Mapping[str, Tensor]], length: int | None = None) -> Averages:
    """Average the attention of a decoder over texts, position by position; what is padding counts for nothing.

    A position that no text reaches attends evenly to all that came before.

    Args:
        model: The teacher; it is left as it was.
        texts: ``input_ids`` [B, T], and ``attention_mask`` [B, T] where there is padding, which comes last.
        length: How many positions to make rows for; by default all that the model has.

    Raises:
        CaptureFailed: If the model is of no family that is known here.
        DataError: If there is no text, or one is longer than ``length`` or begins with padding.
    """
    family = family_of(model)
    teacher = copy.deepcopy(model).eval()
    # Other implementations than this one do not tell their probabilities.
    teacher.set_attn_implementation("eager")
    size = length or int(teacher.config.max_position_embeddings)
    sums = [torch.zeros(teacher.config.num_attention_heads, size, size) for _layer in family.layers(teacher)]
    counts = torch.zeros(size)
    norms = [_Deviation(getattr(layer, family.first_norm)) for layer in family.layers(teacher)]
    for text in texts:
        ids, mask = text["input_ids"], text.get("attention_mask")
        rows = torch.ones_like(ids) if mask is None else mask
        if ids.shape[1] > size:
            raise DataError(f"a text has {ids.shape[1]} tokens, and the matrix {size} positions", where="texts")
        if not bool(rows[:, 0].all()):
            raise DataError("a text begins with padding: its positions are not those it will have", where="texts")
        for norm in norms:
            norm.counted = rows.bool()
        with torch.no_grad():
            found = teacher(input_ids=ids, attention_mask=rows, output_attentions=True, use_cache=False).attentions
        for total, attention in zip(sums, found, strict=True):
            total[:, : ids.shape[1], : ids.shape[1]] += (attention * rows[:, None, :, None]).sum(0)
        counts[: ids.shape[1]] += rows.sum(0)
    if not float(counts.sum()):
        raise DataError("there is no text to average attention over", where="texts")
    even = causal(size) / torch.arange(1, size + 1).unsqueeze(1)
    seen = counts.reshape(1, -1, 1)
    weights = tuple(torch.where(seen > 0, total / seen.clamp(min=1), even) for total in sums)
    return Averages(weights, tuple(norm.mean for norm in norms))


class _Deviation:
    """Listens to what a norm is given, and averages the inverse of what it divides by, where ``counted`` [B, T] is."""

    def __init__(self, norm: nn.Module) -> None:
        self.counted = torch.ones(1, 1, dtype=torch.bool)
        self._total, self._count = 0.0, 0
        self._is_centred = isinstance(norm, nn.LayerNorm)
        norm.register_forward_pre_hook(self._hear)

    def _hear(self, _norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        (x,) = inputs
        power = x.var(-1, unbiased=False) if self._is_centred else x.square().mean(-1)
        power = power[self.counted.to(power.device)]
        self._total += float(power.clamp(min=torch.finfo(x.dtype).tiny).rsqrt().sum())
        self._count += power.numel()

    @property
    def mean(self) -> float:
        return self._total / max(1, self._count)
