"""A text of a given length, and how what was run of it becomes the whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import GPT2Config

from mpccompile.bench.race import SEED, scaled

if TYPE_CHECKING:
    from mpccompile.report.compare import Cost
    from mpccompile.report.profile import Profile


@dataclass(frozen=True)
class Text:
    """What is written, batch 1.

    Attributes:
        length: Tokens with the prompt.
        our_layers: Layers that we run.
        stock_layers: Layers that stock CrypTen runs.
        prompt: Tokens that are given.
        config: The model's.
    """

    length: int
    our_layers: int = 3
    stock_layers: int = 1
    prompt: int = 4
    config: GPT2Config = field(default_factory=GPT2Config)

    @property
    def layers(self) -> int:
        """Layers of the whole model."""
        return int(self.config.n_layer)

    @property
    def new_tokens(self) -> int:
        """Tokens that are written."""
        return self.length - self.prompt

    @property
    def middle(self) -> int:
        """Tokens before the one that costs stock CrypTen the average: what it takes grows evenly with them."""
        return (self.prompt + self.length - 2) // 2

    def prompt_ids(self, tokens: int | None = None) -> Tensor:
        """Return made-up ids [1, T], of the prompt or of so many tokens."""
        generator = torch.Generator().manual_seed(SEED)
        return torch.randint(self.config.vocab_size, (1, tokens or self.prompt), generator=generator)

    def of_all_layers(self, profile: Profile, ran: int, name: str, offline_factor: float | None = None) -> Cost:
        """Return what a call takes with all layers, of which ``ran`` were run."""
        return scaled(profile.cost(name, 0.0), profile, self.layers / ran, offline_factor=offline_factor)
