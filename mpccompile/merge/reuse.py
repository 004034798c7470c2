"""Embedding resending: a text goes on from its last hidden state, and what the tokens are is found out at the end.

The three modules can be captured. Everything they leave for each other can stay with the parties: no token is looked at
on the way, and the head is applied once, to all positions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from mpccompile.capture.cached import HIDDEN, ROW_AXIS, read_layers
from mpccompile.capture.from_torch import as_for_inference


def reuse_scale(model: Any) -> float:
    """Return what a model's hidden states are multiplied by to be embeddings: 1, unless its config says otherwise."""
    return float(getattr(model.config, "reuse_scale", 1.0))


def scale_to_embeddings(model: Any, texts: Iterable[Tensor]) -> float:
    """Return, and write to the model's config, what makes its hidden states as long as its embeddings on average.

    Training makes them alike in direction only, and what a model adds for positions is as large as its embeddings
    are: hidden states that are ten times longer drown it. MERGE resends them as they are.

    Args:
        model: A causal language model of transformers.
        texts: Ids [B, T].
    """
    lengths = torch.zeros(2)
    with as_for_inference(model):
        for ids in texts:
            embedded, hidden = model.get_input_embeddings()(ids), model.base_model(input_ids=ids).last_hidden_state
            lengths += torch.stack([embedded.norm(dim=-1).sum(), hidden.norm(dim=-1).sum()])
    scale = float(lengths[0] / lengths[1])
    model.config.reuse_scale = scale
    return scale


class StartText(nn.Module):
    """Reads a prompt of B texts of T tokens each.

    Args:
        model: A causal language model of transformers.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
        """Return ``hidden`` [B, T, d], and each layer's rows [B, H, T, D]."""
        return read_layers(self.model, {}, input_ids=input_ids)


class NextHidden(nn.Module):
    """Goes on by one position: the hidden state before it is its embedding.

    Args:
        model: A causal language model of transformers.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, hidden: Tensor, position_ids: Tensor, attention_mask: Tensor | None = None, **cache: Tensor
    ) -> dict[str, Tensor]:
        """Return ``hidden`` [B, 1, d] of the position, and its row [B, H, 1, D] of each layer.

        Args:
            hidden: Of the positions before, [B, L, d].
            position_ids: The position p, [B, 1], from 1 on: that of the prompt's length first.
            attention_mask: 1 where the cache is filled, and for the position itself: [B, L + 1]. Constant attention
                needs none.
            cache: Rows [B, H, L, D] by name, filled up to p.
        """
        last, scale = hidden.index_select(1, position_ids[0] - 1), reuse_scale(self.model)
        if scale != 1.0:
            last = last * scale
        masked = {} if attention_mask is None else {"attention_mask": attention_mask}
        return read_layers(self.model, cache, inputs_embeds=last, position_ids=position_ids, **masked)


class TellTokens(nn.Module):
    """Applies the head to all positions at once.

    Args:
        model: A causal language model of transformers.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.head = model.get_output_embeddings()

    def forward(self, hidden: Tensor, position_ids: Tensor) -> Tensor:
        """Return logits [B, n, V] of the hidden states [B, L, d] at some positions [1, n]."""
        logits: Tensor = self.head(hidden.index_select(1, position_ids[0]))
        return logits


def hidden_after(model: nn.Module, input_ids: Tensor, new_tokens: int) -> Tensor:
    """Return the hidden states [B, T + new - 1, d] of prompts [B, T] and of what follows them without a token.

    The last hidden state, after the model's last norm, is the next position's input embedding; what the model adds for
    positions is added to it as to any other.
    """
    start, step = StartText(model), NextHidden(model)
    with torch.no_grad():
        held: dict[str, Tensor] = start(input_ids)
        for position in range(input_ids.shape[1], input_ids.shape[1] + new_tokens - 1):
            places = torch.full((input_ids.shape[0], 1), position)
            new = step(position_ids=places, **held)
            held = {name: torch.cat([rows, new[name]], ROW_AXIS) for name, rows in held.items()}
    return held[HIDDEN]


def continued(model: nn.Module, input_ids: Tensor, new_tokens: int) -> Tensor:
    """Return prompts [B, T] and the likeliest tokens after them, [B, T + new], by embedding resending."""
    hidden = hidden_after(model, input_ids, new_tokens)
    places = torch.arange(input_ids.shape[1] - 1, hidden.shape[1]).unsqueeze(0)
    with torch.no_grad():
        chosen: Tensor = TellTokens(model)(hidden, places).argmax(-1)
    return torch.cat([input_ids, chosen], dim=1)
