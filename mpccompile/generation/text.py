"""A text that grows: its ids so far, and when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from mpccompile.generation.choices import Choices


class Text:
    """The ids so far, and when they end."""

    def __init__(self, prompt: Tensor, choices: Choices) -> None:
        """Begin with a prompt [B, T], and tell the streamer of it."""
        self.ids = prompt
        self._choices = choices
        self._going = torch.ones(prompt.shape[0], dtype=torch.bool)
        self._left = choices.max_new_tokens
        if choices.streamer is not None:
            choices.streamer.put(prompt)

    @property
    def ended(self) -> bool:
        """Whether all texts have met an end token, or there are as many new ones as were asked for."""
        return self._left == 0 or not bool(self._going.any())

    def add(self, logits: Tensor) -> None:
        """Pick the next ids from logits [B, V]."""
        self.take(self._choices.pick(logits))

    def take(self, chosen: Tensor) -> None:
        """Go on with ids [B]; texts that have ended get padding."""
        ends = torch.tensor(self._choices.ends, dtype=torch.long)
        if ends.numel():
            given = self._choices.pad_token_id
            chosen = torch.where(self._going, chosen, int(ends[0]) if given is None else given)
            self._going &= ~torch.isin(chosen, ends)
        self._left -= 1
        self.ids = torch.cat([self.ids, chosen.unsqueeze(1)], dim=1)
        if self._choices.streamer is not None:
            self._choices.streamer.put(chosen)

    def end(self) -> None:
        """Tell the streamer that no more will come."""
        if self._choices.streamer is not None:
            self._choices.streamer.end()
