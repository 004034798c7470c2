"""A T5 as two modules that can be captured: one reads the source and the start token, one reads a token after it.

The encoder runs in the first alone. The keys and values that the decoder takes from its answer are made there, and stay
as those of the tokens do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mpccompile.capture.cached import cache_names, recording
from mpccompile.errors import CaptureFailed

if TYPE_CHECKING:
    from transformers import EncoderDecoderCache

CROSS = "cross_"
"""Begins the names of the keys and values of the source."""


def cross_names(layers: int) -> tuple[str, ...]:
    """Return the names of the keys and values of the source, in the order of the decoder's layers."""
    return tuple(f"{CROSS}{name}" for name in cache_names(layers))


class ReadSource(nn.Module):
    """Reads sources of B texts of S tokens each, and the token that their answers start with.

    Args:
        model: A T5 of transformers.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, decoder_input_ids: Tensor) -> dict[str, Tensor]:
        """Return ``logits`` [B, V] of the last position, the answers' rows [B, H, T, D], and the sources' [B, H, S, D].

        Args:
            input_ids: The sources [B, S].
            attention_mask: 1 where a source is no padding, [B, S].
            decoder_input_ids: The answers so far [B, T]: the start token.
        """
        from transformers import EncoderDecoderCache

        (own, rows), (across, crossed) = recording({}), recording({})
        logits: Tensor = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            decoder_input_ids=decoder_input_ids,
            past_key_values=EncoderDecoderCache(own, across),
            use_cache=True,
        ).logits[:, -1]
        return {"logits": logits, **rows, **{f"{CROSS}{name}": value for name, value in crossed.items()}}


class ReadAnswer(nn.Module):
    """Reads the next token of B answers, given the keys and values of those before it and of the sources.

    Args:
        model: A T5 of transformers.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        attention_mask: Tensor,
        decoder_attention_mask: Tensor,
        **cache: Tensor,
    ) -> dict[str, Tensor]:
        """Return ``logits`` [B, V], and the token's row [B, H, 1, D] of each layer's keys and values.

        Args:
            input_ids: The token [B, 1].
            position_ids: Its position [B, 1].
            attention_mask: 1 where a source is no padding, [B, S].
            decoder_attention_mask: 1 where the cache is filled, and for the token itself: [B, L + 1].
            cache: Keys and values by name: [B, H, L, D] of the tokens, [B, H, S, D] of the sources.
        """
        past, rows = past_of(self.model, cache)
        with measured_from(self.model, position_ids[0], decoder_attention_mask.shape[1] - 1):
            logits: Tensor = self.model(
                encoder_outputs=(source_of(self.model, attention_mask),),
                attention_mask=attention_mask,
                decoder_input_ids=input_ids,
                decoder_attention_mask=decoder_attention_mask,
                past_key_values=past,
                use_cache=True,
            ).logits[:, -1]
        return {"logits": logits, **rows}


def past_of(model: Any, cache: dict[str, Tensor]) -> tuple[EncoderDecoderCache, dict[str, Tensor]]:
    """Return a decoder's cache of these keys and values, and the dict that it notes each layer's new rows in."""
    from transformers import DynamicCache, EncoderDecoderCache

    own, rows = recording({name: value for name, value in cache.items() if not name.startswith(CROSS)})
    across = DynamicCache()
    for layer in range(len(model.decoder.block)):
        key, value = cross_names(layer + 1)[-2:]
        across.update(cache[key], cache[value], layer)
    return EncoderDecoderCache(own, across), rows


def source_of(model: Any, mask: Tensor) -> Tensor:
    """Return a stand-in [B, S, d] for what the encoder said: that is in the cache, and only its shape is read."""
    return torch.zeros(*mask.shape, model.config.d_model)


@contextmanager
def measured_from(model: Any, position: Tensor, rows: int) -> Iterator[None]:
    """Let a decoder measure distances from a public position [1], and not from the end of its cache of ``rows``."""
    owners = _position_owners(model)
    for owner in owners:

        def bias(*_lengths: Any, measure: Any = owner.compute_bias, **_past: Any) -> Tensor:
            # The distances rows, ..., 1, 0 of the cache and of the token itself.
            every: Tensor = measure(1, rows + 1, past_seen_tokens=rows)
            return every.index_select(-1, (torch.arange(rows + 1) + (rows - position)).clamp(max=rows))

        owner.compute_bias = bias
    try:
        yield
    finally:
        for owner in owners:
            del owner.compute_bias


def _position_owners(model: Any) -> list[Any]:
    """Return the attentions of a decoder that measure relative positions."""
    parts = getattr(getattr(model, "decoder", None), "block", ())
    found = [part for block in parts for part in block.modules()]
    return [part for part in found if getattr(part, "has_relative_attention_bias", False)]


def check_encoder_decoder(model: nn.Module) -> None:
    """Refuse a model with an encoder that is no T5 with a head.

    Raises:
        CaptureFailed: If it has no logits, or its positions are not relative as those of a T5 are.
    """
    if getattr(model, "lm_head", None) is None or not _position_owners(model):
        raise CaptureFailed(
            f"A {type(model).__name__} has an encoder, and of those only a T5 can generate",
            hint="Use T5ForConditionalGeneration, or a causal language model.",
        )
