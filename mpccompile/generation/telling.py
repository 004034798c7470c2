"""How the client learns, at its end, a text whose tokens the parties chose on shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mpccompile.capture.cached import HIDDEN
from mpccompile.capture.chosen import CHOSEN

if TYPE_CHECKING:
    from mpccompile.codegen.package import Package
    from mpccompile.generation.text import Text


def places_told(length: int, new_tokens: int) -> Tensor:
    """Return the positions [1, n] of the tokens that were chosen; if there were none, that of the last hidden state."""
    return torch.arange(length if new_tokens > 1 else length - 1, length + new_tokens - 1).unsqueeze(0)


def told_at_the_end(step: Package, length: int, new_tokens: int) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Return inputs of the program that tells a text, and the limits of those that stay with the parties.

    Args:
        step: What picked the tokens before the last.
        length: Tokens before the first that was chosen.
        new_tokens: Tokens that are told.
    """
    (batch, rows, width) = next(spec.shape for spec in step.inputs if spec.name == HIDDEN)
    example = {
        HIDDEN: torch.randn(batch, rows, width, generator=torch.Generator().manual_seed(0)),
        "position_ids": places_told(length, new_tokens),
    }
    if new_tokens > 1:
        example[CHOSEN] = torch.zeros(batch, rows, 1)
    return example, {name: limit for name, limit in step.output.resident if name in example}


def take_told(text: Text, outcome: list[Tensor]) -> None:
    """Add the ids up to where the text ends, which only the client sees."""
    *earlier, last = outcome
    ids = torch.cat([*(chosen.squeeze(-1) for chosen in earlier), last], 1).round().long()
    for chosen in ids.unbind(1):
        if text.ended:
            return
        text.take(chosen)
