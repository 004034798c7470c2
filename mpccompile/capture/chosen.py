"""A language model that picks its tokens itself, as three modules that can be captured.

What a token is is a value of the graph, so that the parties can find it, look it up and go on without anybody who knows
it. Each step begins with the last hidden state, which tells the token, and ends with the next one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mpccompile.capture.cached import HIDDEN, read_layers

CHOSEN, EARLIER, LAST = "chosen", "earlier", "last"


def likeliest(model: Any, hidden: Tensor, position: Tensor) -> Tensor:
    """Return the likeliest tokens [B, 1] after a position [1], from hidden states [B, L, d]."""
    logits: Tensor = model.get_output_embeddings()(hidden.index_select(1, position))
    return logits.argmax(-1)


class StartChoosing(nn.Module):
    """Reads a prompt of B texts of T tokens each.

    Args:
        model: A causal language model of transformers.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
        """Return each layer's rows [B, H, T, D], and ``hidden`` [B, T, d], zero but for the last position."""
        rows = read_layers(self.model, {}, input_ids=input_ids)
        hidden = rows.pop(HIDDEN)
        if hidden.shape[1] > 1:
            # No other is asked for: so the last layer need not be computed there.
            last = hidden[:, -1:]
            hidden = torch.cat([torch.zeros_like(hidden[:, :-1]), last], 1)
        return {HIDDEN: hidden, **rows}


class ChooseToken(nn.Module):
    """Picks the next token of B texts and reads it.

    Args:
        model: A causal language model of transformers.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, hidden: Tensor, position_ids: Tensor, attention_mask: Tensor, **cache: Tensor
    ) -> dict[str, Tensor]:
        """Return ``chosen`` [B, 1, 1], ``hidden`` [B, 1, d] of its position, and its row [B, H, 1, D] of each layer.

        Args:
            hidden: Of the positions before, [B, L, d].
            position_ids: The token's position p, [B, 1], from 1 on.
            attention_mask: 1 where the cache is filled, and for the token itself: [B, L + 1].
            cache: Rows [B, H, L, D] by name, filled up to p.
        """
        chosen = likeliest(self.model, hidden, position_ids[0] - 1)
        embedded = self.model.get_input_embeddings()(chosen)
        rows = read_layers(
            self.model, cache, inputs_embeds=embedded, position_ids=position_ids, attention_mask=attention_mask
        )
        return {CHOSEN: chosen.unsqueeze(-1), **rows}


class TellChosen(nn.Module):
    """Picks the last token, and tells all of them.

    Args:
        model: A causal language model of transformers.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, hidden: Tensor, position_ids: Tensor, chosen: Tensor | None = None) -> dict[str, Tensor]:
        """Return the ``earlier`` tokens [B, n, 1] at n positions, if there are any, and the ``last`` [B, 1] after them.

        Args:
            hidden: [B, L, d].
            position_ids: The positions [1, n]; of a text of one new token that of the last hidden state.
            chosen: The tokens that were chosen before, [B, L, 1].
        """
        last = {LAST: likeliest(self.model, hidden, position_ids[0, -1:])}
        return last if chosen is None else {EARLIER: chosen.index_select(1, position_ids[0]), **last}


class TellAll(nn.Module):
    """Tells the tokens that were chosen."""

    def forward(self, chosen: Tensor, position_ids: Tensor) -> Tensor:
        """Return those of [B, L, 1] at positions [1, n]: [B, n, 1]."""
        return chosen.index_select(1, position_ids[0])
