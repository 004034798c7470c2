"""A language model as two modules that can be captured: one reads the prompt, one reads a token after it.

Both return the logits of the last position and the keys and values that the tokens they read leave for later ones, as
plain tensors: torch.export takes no cache object at its border.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mpccompile.errors import CaptureFailed

if TYPE_CHECKING:
    from transformers import DynamicCache

HIDDEN = "hidden"
ROW_AXIS = -2
"""The dim of keys and values [B, H, T, D] that has a row for each token."""


def cache_names(layers: int) -> tuple[str, ...]:
    """Return the names of keys and values, in the order of the layers."""
    return tuple(f"{kind}_{layer}" for layer in range(layers) for kind in ("key", "value"))


def recording(past: dict[str, Tensor]) -> tuple[DynamicCache, dict[str, Tensor]]:
    """Return a cache that starts with ``past``, and the dict that it notes each layer's new rows in.

    Constant attention keeps one kind of row, and gives it for both: it is noted once, as values.
    """
    from transformers import DynamicCache

    rows: dict[str, Tensor] = {}

    class Recording(DynamicCache):
        def update(
            self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_args: Any, **_kwargs: Any
        ) -> tuple[Tensor, Tensor]:
            if key_states is value_states:
                values = self._longer(f"value_{layer_idx}", value_states)
                return values, values
            return self._longer(f"key_{layer_idx}", key_states), self._longer(f"value_{layer_idx}", value_states)

        def _longer(self, name: str, new: Tensor) -> Tensor:
            rows[name] = new
            return torch.cat([past[name], new], ROW_AXIS) if name in past else new

        def get_seq_length(self, layer_idx: int = 0) -> int:
            held = past.get(f"value_{layer_idx}")
            return 0 if held is None else int(held.shape[ROW_AXIS])

        def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
            return self.get_seq_length(layer_idx) + query_length, 0

    return Recording(), rows


def _answer(model: nn.Module, past: dict[str, Tensor], **inputs: Tensor) -> dict[str, Tensor]:
    cache, rows = recording(past)
    logits: Tensor = model(**inputs, past_key_values=cache, use_cache=True).logits[:, -1]
    return {"logits": logits, **rows}


def read_layers(model: Any, past: dict[str, Tensor], **inputs: Tensor) -> dict[str, Tensor]:
    """Run the layers of a language model.

    Returns:
        ``hidden`` [B, T, d], the last hidden states, and the rows [B, H, T, D] that they leave for later ones.
    """
    cache, rows = recording(past)
    hidden: Tensor = model.base_model(**inputs, past_key_values=cache, use_cache=True).last_hidden_state
    return {HIDDEN: hidden, **rows}


class ReadPrompt(nn.Module):
    """Reads a prompt of B texts of T tokens each.

    Args:
        model: A language model of transformers that takes ``past_key_values``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
        """Return ``logits`` [B, V] of the last position, and each layer's keys and values [B, H, T, D]."""
        return _answer(self.model, {}, input_ids=input_ids)


class ReadToken(nn.Module):
    """Reads the next token of B texts, given the keys and values of those before it.

    Args:
        model: A language model of transformers that takes ``past_key_values``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, position_ids: Tensor, attention_mask: Tensor, **cache: Tensor
    ) -> dict[str, Tensor]:
        """Return ``logits`` [B, V], and the token's row [B, H, 1, D] of each layer's keys and values.

        Args:
            input_ids: The token [B, 1].
            position_ids: Its position [B, 1].
            attention_mask: 1 where the cache is filled, and for the token itself: [B, L + 1].
            cache: Keys and values [B, H, L, D] by name; what stands in rows that the mask hides does not matter.
        """
        return _answer(self.model, cache, input_ids=input_ids, position_ids=position_ids, attention_mask=attention_mask)


class ReadOn(nn.Module):
    """Reads the next token of B texts, and leaves its hidden state in the place of logits.

    Args:
        model: A causal language model of transformers.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, position_ids: Tensor, attention_mask: Tensor | None = None, **cache: Tensor
    ) -> dict[str, Tensor]:
        """Return ``hidden`` [B, 1, d], and the token's row [B, H, 1, D] of each layer.

        Args:
            input_ids: The token [B, 1].
            position_ids: Its position [B, 1].
            attention_mask: 1 where the cache is filled, and for the token itself: [B, L + 1]. Constant attention needs
                none.
            cache: Rows [B, H, L, D] by name.
        """
        masked = {} if attention_mask is None else {"attention_mask": attention_mask}
        return read_layers(self.model, cache, input_ids=input_ids, position_ids=position_ids, **masked)


def check_causal(model: nn.Module) -> None:
    """Refuse a model that is no decoder with a cache.

    Raises:
        CaptureFailed: If it does not take ``past_key_values``.
    """
    import inspect

    config = getattr(model, "config", None)
    if "past_key_values" not in inspect.signature(model.forward).parameters or config is None:
        raise CaptureFailed(
            f"A {type(model).__name__} cannot generate: it takes no past_key_values",
            hint="Use a causal language model, such as GPT2LMHeadModel.",
        )
