"""Private answers whose tokens the parties choose, on shares: the client learns an answer when it is complete."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import torch

from mpccompile.capture.cached import HIDDEN
from mpccompile.capture.chosen import CHOSEN, TellAll, TellChosen
from mpccompile.capture.chosen_answer import ChooseAnswer, StartAnswer
from mpccompile.generation.answers import START, AnswerGenerator, Inputs, public_inputs, rows_of
from mpccompile.generation.generate import Recipe, Runner, takes
from mpccompile.generation.telling import places_told, take_told, told_at_the_end
from mpccompile.options import EXACT, REPLACED, Options

if TYPE_CHECKING:
    from torch import Tensor

    from mpccompile.codegen.package import Package
    from mpccompile.generation.text import Text

START_TOKENS = 1
"""What stands in an answer before the first token that is chosen."""


class SecretAnswerGenerator(AnswerGenerator):
    """Answers sources with tokens that nobody knows before the end.

    An answer always takes ``max_new_tokens`` steps.

    Args:
        recipe: What to compile.
        run: Runs a package.
    """

    prefix = "chosen_answer"
    reader = StartAnswer
    step = ChooseAnswer
    left = (HIDDEN,)
    left_by_steps = MappingProxyType({CHOSEN: 1.0})

    def __init__(self, recipe: Recipe, run: Runner) -> None:
        super().__init__(recipe, run)
        self._ends: dict[tuple[int, int, int], Package] = {}

    @property
    def packages(self) -> tuple[Package, ...]:
        """The programs made so far: those that read a source, those that go on, those that tell an answer."""
        return (*super().packages, *self._ends.values())

    def answer(self, text: Text, source: Inputs, new_tokens: int) -> None:
        """Add tokens to a text that has the start token, all at once."""
        first, step = self._programs(source, text.ids, new_tokens)
        end = self._end(step, new_tokens)
        self._run(first, {**source, START: text.ids}, 0)
        for place in range(START_TOKENS, new_tokens):
            self._run(step, public_inputs(source["attention_mask"], place, rows_of(step)), place)
        take_told(text, self._run(end, {"position_ids": places_told(START_TOKENS, new_tokens)}, new_tokens))

    def brought(self, answer: Tensor, place: int) -> Inputs:  # noqa: ARG002 - the parties choose the token
        """Return what the client brings to a step: nothing."""
        return {}

    def _end(self, step: Package, new_tokens: int) -> Package:
        batch = next(spec.shape[0] for spec in step.inputs if spec.name == HIDDEN)
        key = (batch, rows_of(step), new_tokens)
        if key not in self._ends or not takes(self._ends[key], step):
            example, limits = told_at_the_end(step, START_TOKENS, new_tokens)
            self._ends[key] = self.compiled(TellChosen(self._recipe.model), [example], limits, self._plain)
        return self._ends[key]

    def rows_for(self, new_tokens: int) -> int:
        """Return how many rows the caches of a package need: those of the start token, and of every chosen one."""
        return START_TOKENS + new_tokens

    def whole_end(self, step: Package) -> dict[str, Package]:
        """Return what tells all tokens there can be."""
        rows = rows_of(step)
        example = {CHOSEN: torch.zeros(1, rows, 1), "position_ids": torch.arange(rows).unsqueeze(0)}
        limits = {CHOSEN: dict(step.output.resident)[CHOSEN]}
        return {"end": self.compiled(TellAll(), [example], limits, self._plain, "end")}

    @property
    def _plain(self) -> Options:
        """A head has none of the functions that options may replace, and a pattern that matches nothing is refused."""
        return Options.merged(self._recipe.options, dict.fromkeys(REPLACED, EXACT))
