"""A T5 that picks its tokens itself, as two modules that can be captured; a third, which tells them, is any model's.

A step begins with the last hidden state of the answer, which tells the token, and ends with the next one.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mpccompile.capture.cached import HIDDEN, recording
from mpccompile.capture.chosen import CHOSEN, likeliest
from mpccompile.capture.encoder_decoder import CROSS, measured_from, past_of, source_of


class StartAnswer(nn.Module):
    """Reads sources of B texts of S tokens each, and the token that their answers start with.

    Args:
        model: A T5 of transformers.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, decoder_input_ids: Tensor) -> dict[str, Tensor]:
        """Return ``hidden`` [B, T, d] of the answers, their rows [B, H, T, D], and the sources' [B, H, S, D].

        Args:
            input_ids: The sources [B, S].
            attention_mask: 1 where a source is no padding, [B, S].
            decoder_input_ids: The answers so far [B, T]: the start token.
        """
        from transformers import EncoderDecoderCache

        (own, rows), (across, crossed) = recording({}), recording({})
        hidden: Tensor = self.model.decoder(
            input_ids=decoder_input_ids,
            encoder_hidden_states=self.model.encoder(input_ids=input_ids, attention_mask=attention_mask)[0],
            encoder_attention_mask=attention_mask,
            past_key_values=EncoderDecoderCache(own, across),
            use_cache=True,
        ).last_hidden_state
        return {HIDDEN: hidden, **rows, **{f"{CROSS}{name}": value for name, value in crossed.items()}}


class ChooseAnswer(nn.Module):
    """Picks the next token of B answers and reads it.

    Args:
        model: A T5 of transformers.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        hidden: Tensor,
        position_ids: Tensor,
        attention_mask: Tensor,
        decoder_attention_mask: Tensor,
        **cache: Tensor,
    ) -> dict[str, Tensor]:
        """Return ``chosen`` [B, 1, 1], ``hidden`` [B, 1, d] of its position, and its row [B, H, 1, D] of each layer.

        Args:
            hidden: Of the positions before, [B, L, d].
            position_ids: The token's position p, [B, 1], from 1 on.
            attention_mask: 1 where a source is no padding, [B, S].
            decoder_attention_mask: 1 where the cache is filled, and for the token itself: [B, L + 1].
            cache: Keys and values by name: [B, H, L, D] of the tokens, [B, H, S, D] of the sources.
        """
        chosen = likeliest(self.model, hidden, position_ids[0] - 1)
        past, rows = past_of(self.model, cache)
        with measured_from(self.model, position_ids[0], decoder_attention_mask.shape[1] - 1):
            following: Tensor = self.model.decoder(
                inputs_embeds=self.model.get_input_embeddings()(chosen),
                attention_mask=decoder_attention_mask,
                encoder_hidden_states=source_of(self.model, attention_mask),
                encoder_attention_mask=attention_mask,
                past_key_values=past,
                use_cache=True,
            ).last_hidden_state
        return {CHOSEN: chosen.unsqueeze(-1), HIDDEN: following, **rows}
