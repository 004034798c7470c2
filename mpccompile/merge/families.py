"""Where the parts of a layer are in the decoders that can be merged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mpccompile.errors import CaptureFailed


@dataclass(frozen=True)
class FeedForward:
    """Two linears with an activation between.

    Attributes:
        up: From d to d_I.
        activation: Of one variable.
        down: From d_I to d.
    """

    up: nn.Linear
    activation: Callable[[Tensor], Tensor]
    down: nn.Linear


@dataclass(frozen=True)
class Family:
    """How to reach into the layers of one kind of decoder.

    Attributes:
        layers: The layers of a model.
        attention: Name of a layer's attention.
        first_norm: Name of the norm before it.
        second_norm: Name of the norm before the feed-forward part.
        value: A copy of an attention's W_V, for as many heads as there are queries.
        output: A copy of its W_O.
        feed_forward: Copies of a layer's two linears; None where there is a gate.
        positions: Path of the table of positions; None where they are no table.
    """

    layers: Callable[[Any], Sequence[nn.Module]]
    attention: str
    first_norm: str
    second_norm: str
    value: Callable[[Any], nn.Linear]
    output: Callable[[Any], nn.Linear]
    feed_forward: Callable[[Any], FeedForward] | None
    positions: str | None


def family_of(model: nn.Module) -> Family:
    """Return how to reach into the layers of a model.

    Raises:
        CaptureFailed: If it is of no family that is known here.
    """
    name = type(model).__name__
    if name not in _FAMILIES:
        raise CaptureFailed(
            f"a {name} cannot be merged",
            hint=f"Use one of {', '.join(_FAMILIES)}, or add its parts to merge/families.py.",
        )
    return _FAMILIES[name]


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """Return a linear with copies of a weight [out, in] and a bias."""
    copy = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=weight.dtype)
    with torch.no_grad():
        copy.weight.copy_(weight)
        if bias is not None:
            copy.bias.copy_(bias)
    return copy


def _transposed(conv: Any, start: int = 0) -> nn.Linear:
    """Return a GPT-2 Conv1D, whose weight is [in, out], from one of its outputs on, as a linear."""
    return _linear(conv.weight[:, start:].t(), conv.bias[start:])


def _gpt2_feed_forward(block: Any) -> FeedForward:
    return FeedForward(_transposed(block.mlp.c_fc), block.mlp.act, _transposed(block.mlp.c_proj))


def _repeated_value(attention: Any) -> nn.Linear:
    """Return W_V with the rows of each group of heads once for every query that reads them."""
    groups, size = attention.num_key_value_groups, attention.head_dim

    def repeated(rows: Tensor) -> Tensor:
        each: Tensor = rows.unflatten(0, (-1, size))
        return each.repeat_interleave(groups, 0).flatten(0, 1)

    bias = attention.v_proj.bias
    return _linear(repeated(attention.v_proj.weight), None if bias is None else repeated(bias))


_GPT2 = Family(
    layers=lambda model: model.transformer.h,
    attention="attn",
    first_norm="ln_1",
    second_norm="ln_2",
    value=lambda attention: _transposed(attention.c_attn, 2 * attention.embed_dim),
    output=lambda attention: _transposed(attention.c_proj),
    feed_forward=_gpt2_feed_forward,
    positions="transformer.wpe",
)
_LLAMA = Family(
    layers=lambda model: model.model.layers,
    attention="self_attn",
    first_norm="input_layernorm",
    second_norm="post_attention_layernorm",
    value=_repeated_value,
    output=lambda attention: _linear(attention.o_proj.weight, attention.o_proj.bias),
    feed_forward=None,
    positions=None,
)
_FAMILIES: dict[str, Family] = {"GPT2LMHeadModel": _GPT2, "LlamaForCausalLM": _LLAMA, "Qwen2ForCausalLM": _LLAMA}
