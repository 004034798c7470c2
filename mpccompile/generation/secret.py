"""Private generation whose tokens are chosen by the parties, on shares: the client learns the text when it is complete.

A step finds the largest logit by comparisons, without a softmax, and looks the token up at a place that nobody knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mpccompile.capture.chosen import CHOSEN, ChooseToken, StartChoosing, TellAll, TellChosen
from mpccompile.generation.examples import choices_of, continued
from mpccompile.generation.generate import CALIBRATION_TOKENS
from mpccompile.generation.telling import places_told, take_told, told_at_the_end
from mpccompile.generation.unopened import Inputs, Unopened

if TYPE_CHECKING:
    from mpccompile.codegen.package import Package
    from mpccompile.generation.choices import Choices
    from mpccompile.generation.text import Text


class SecretGenerator(Unopened):
    """Continues prompts with tokens that nobody knows before the end."""

    prefix = "chosen"

    def check(self, choices: Choices) -> None:
        """Take everything: choices that do not go with a secret selection were refused when they were made."""

    def start(self) -> nn.Module:
        """Return what reads a prompt [B, T]."""
        return StartChoosing(self._recipe.model)

    def step(self) -> nn.Module:
        """Return what picks a token and reads it."""
        return ChooseToken(self._recipe.model)

    def step_limits(self, start: Package) -> dict[str, float]:
        """Return what stays of a step: the same as of a prompt, and the token."""
        return {CHOSEN: 1.0, **dict(start.output.resident)}

    def step_examples(self, prompts: Sequence[Inputs], capacity: int) -> list[Inputs]:
        """Return inputs of the step, at places spread over the prompts and the plain model's own continuation."""
        ids = [prompt["input_ids"] for prompt in prompts]
        room = capacity - ids[0].shape[1]
        texts = continued(self._recipe.model, ids, min(CALIBRATION_TOKENS, max(1, room)))
        return list(choices_of(self._recipe.model, texts, ids[0].shape[0], capacity))

    def end(self, step: Package, length: int, new_tokens: int) -> tuple[nn.Module, Inputs, dict[str, float]]:
        """Return what picks the last token and tells all of them."""
        return TellChosen(self._recipe.model), *told_at_the_end(step, length, new_tokens)

    def whole_end(self, step: Package, rows: int) -> tuple[nn.Module, Inputs, dict[str, float]]:
        """Return what tells all tokens there can be: a step of each was taken by then."""
        example = {CHOSEN: torch.zeros(1, rows, 1), "position_ids": torch.arange(rows).unsqueeze(0)}
        return TellAll(), example, {CHOSEN: dict(step.output.resident)[CHOSEN]}

    def places(self, length: int, new_tokens: int) -> Tensor:
        """Return the positions of the tokens that were chosen; if there were none, that of the last hidden state."""
        return places_told(length, new_tokens)

    def tell(self, text: Text, outcome: list[Tensor]) -> None:
        """Take the ids up to where the text ends, which only the client sees."""
        take_told(text, outcome)
