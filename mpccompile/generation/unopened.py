"""Private generation of which nobody learns anything before its end: a step goes on from what the last one left.

Three programs take part: one reads the prompt, one goes on by a position, and one tells the client of all of them.
"""

from __future__ import annotations

import itertools
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mpccompile import compiler
from mpccompile.capture.cached import HIDDEN, ReadOn
from mpccompile.errors import MpcCompileError
from mpccompile.generation.caches import check_reads_on
from mpccompile.generation.examples import PUBLIC, hidden_tokens_of, prompts_of
from mpccompile.generation.generate import takes
from mpccompile.generation.prompts import whole
from mpccompile.generation.requests import check_compilable, check_padding, check_prompt, check_rows
from mpccompile.generation.text import Text
from mpccompile.options import EXACT, REPLACED, Options

if TYPE_CHECKING:
    from mpccompile.codegen.package import Package
    from mpccompile.generation.choices import Choices
    from mpccompile.generation.generate import Recipe, Runner

Inputs = dict[str, Tensor]


class Unopened(ABC):
    """Continues prompts privately. Programs are compiled when they are first needed, and kept.

    The parties learn how long the prompt is and how many tokens are added, and nothing of which. A text always takes
    ``max_new_tokens`` steps: nobody knows of its end before it is complete.

    Args:
        recipe: What to compile.
        run: Runs a package.
    """

    prefix: str
    """Of the names of its programs' folders."""

    def __init__(self, recipe: Recipe, run: Runner) -> None:
        check_compilable(recipe)
        self._recipe = recipe
        self._run = run
        self._starts: dict[tuple[int, int], Package] = {}
        self._steps: dict[tuple[int, int], Package] = {}
        self._ends: dict[tuple[int, int, int], Package] = {}
        # Of folders: one that is replaced keeps its own, which the parties may have loaded.
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    @property
    def packages(self) -> tuple[Package, ...]:
        """The programs made so far: those that read a prompt, those that go on, those that tell the tokens."""
        return (*self._starts.values(), *self._steps.values(), *self._ends.values())

    def generate(self, input_ids: Tensor, choices: Choices, attention_mask: Tensor | None = None) -> Tensor:
        """Return the prompt [B, T] and what follows it, [B, T + new].

        Raises:
            InputError: If the prompt is empty or too long, or an id is outside the vocabulary.
            OptionError: If a choice means nothing here.
            MpcCompileError: If a call fails; ``generated`` has the prompt, since no token was known yet.
        """
        self.check(choices)
        check_prompt(self._recipe, whole(input_ids, attention_mask), choices)
        check_padding(self._recipe, input_ids, attention_mask)
        with self._lock:
            text = Text(input_ids, choices)
            try:
                self.tell(text, self._outcome(input_ids, choices))
            except MpcCompileError as error:
                error.generated = text.ids
                raise
            finally:
                text.end()
            return text.ids

    def programs(self, rows: int) -> dict[str, Package]:
        """Return programs for one text of up to ``rows`` tokens: what reads a token, what goes on, and what tells.

        Raises:
            OptionError: If there are no example prompts, or the model has fewer positions.
        """
        check_rows(self._recipe, rows)
        check_reads_on(self._recipe.model, rows - 1)
        texts, shortest = self._recipe.texts(rows), min(prompt.shape[1] for prompt in self._recipe.examples)
        with self._lock:
            tokens = list(hidden_tokens_of(self._recipe.model, texts, rows - 1))
            names = [name for name in tokens[0] if name not in PUBLIC]
            limits = dict.fromkeys((HIDDEN, *names), 1.0)
            read = self.compiled(ReadOn(self._recipe.model), tokens, limits, folder="read")
            prompts = list(prompts_of(texts, (1, min(shortest, rows - 1))))
            examples = self.step_examples(prompts, rows - 1)
            step = self.compiled(self.step(), examples, self.step_limits(read), folder="step")
            module, example, limits = self.whole_end(step, rows)
            end = self.compiled(module, [example], limits, self._plain, folder="end")
            return {"": read, "step": step, "end": end}

    @abstractmethod
    def check(self, choices: Choices) -> None:
        """Raise OptionError for choices that mean nothing here."""

    @abstractmethod
    def start(self) -> nn.Module:
        """Return what reads a prompt [B, T]."""

    @abstractmethod
    def step(self) -> nn.Module:
        """Return what goes on by one position."""

    @abstractmethod
    def step_examples(self, prompts: Sequence[Inputs], capacity: int) -> list[Inputs]:
        """Return inputs of the step, of a text of up to ``capacity`` rows, to calibrate it with."""

    @abstractmethod
    def step_limits(self, start: Package) -> dict[str, float]:
        """Return what stays of a step, each with what it is known to stay below so far."""

    @abstractmethod
    def end(self, step: Package, length: int, new_tokens: int) -> tuple[nn.Module, Inputs, dict[str, float]]:
        """Return what tells the client of a text, inputs for it, and the limits of those that stay with the parties."""

    @abstractmethod
    def whole_end(self, step: Package, rows: int) -> tuple[nn.Module, Inputs, dict[str, float]]:
        """Return the same for texts of any length of up to ``rows`` tokens."""

    @abstractmethod
    def places(self, length: int, new_tokens: int) -> Tensor:
        """Return the positions [1, n] that the client is told of, of a prompt of ``length`` tokens."""

    @abstractmethod
    def tell(self, text: Text, outcome: list[Tensor]) -> None:
        """Add the new tokens to a text, from what the client learnt at its end."""

    def _outcome(self, ids: Tensor, choices: Choices) -> list[Tensor]:
        count, length = ids.shape
        start, step, end = self._programs(ids, choices.max_new_tokens)
        self._run(start, {"input_ids": ids}, 0)
        for position in range(length, length + choices.max_new_tokens - 1):
            self._run(step, _public_inputs(step, count, position), position)
        rows = length + choices.max_new_tokens - 1
        return self._run(end, {"position_ids": self.places(length, choices.max_new_tokens)}, rows)

    def _programs(self, ids: Tensor, new_tokens: int) -> tuple[Package, Package, Package]:
        count, length = int(ids.shape[0]), int(ids.shape[1])
        rows = length + new_tokens - 1
        capacity = min((key[1] for key in self._steps if key[0] == count and key[1] >= rows), default=0)
        capacity = capacity or self._recipe.capacity(rows)
        if (count, capacity) not in self._steps:
            check_reads_on(self._recipe.model, capacity)
        prompts = list(prompts_of(self._texts(ids), (count, length)))
        if (count, length) not in self._starts:
            names = self._names(prompts[0])
            self._starts[count, length] = self.compiled(self.start(), prompts, dict.fromkeys(names, 1.0))
        start = self._starts[count, length]
        if (count, capacity) not in self._steps or not takes(self._steps[count, capacity], start):
            examples = self.step_examples(prompts, capacity)
            self._steps[count, capacity] = self.compiled(self.step(), examples, self.step_limits(start))
        step = self._steps[count, capacity]
        key = (count, capacity, new_tokens)
        if key not in self._ends or not takes(self._ends[key], step):
            module, example, limits = self.end(step, length, new_tokens)
            self._ends[key] = self.compiled(module, [example], limits, self._plain)
        return start, step, self._ends[key]

    @property
    def _plain(self) -> Options:
        """A head has none of the functions that options may replace, and a pattern that matches nothing is refused."""
        return Options.merged(self._recipe.options, dict.fromkeys(REPLACED, EXACT))

    def _texts(self, ids: Tensor) -> list[Tensor]:
        return [example for example in self._recipe.examples if example.shape[1] >= ids.shape[1]] or [ids]

    def _names(self, prompt: Inputs) -> tuple[str, ...]:
        """Return what a prompt leaves, by name."""
        with torch.no_grad():
            return tuple(self.start().eval()(**prompt))

    def compiled(
        self,
        reader: nn.Module,
        examples: Sequence[Inputs],
        resident: Mapping[str, float],
        options: Options | None = None,
        folder: str = "",
    ) -> Package:
        """Compile one of the programs, for inputs shaped like the first example."""
        recipe = self._recipe
        first, *others = examples
        return compiler.build(
            reader,
            first,
            recipe.folder / f"{self.prefix}{folder or next(self._numbers)}",
            options=options or recipe.options,
            passes=recipe.passes,
            calibration=others,
            resident=resident,
        )


def public_inputs(count: int, position: int, capacity: int, *, masked: bool) -> Inputs:
    """Return what a step takes besides what stays with the parties."""
    inputs = {"position_ids": torch.full((count, 1), position)}
    if masked:
        mask = torch.zeros(count, capacity + 1, dtype=torch.long)
        mask[:, :position] = 1
        mask[:, -1] = 1
        inputs["attention_mask"] = mask
    return inputs


def _public_inputs(step: Package, count: int, position: int) -> Inputs:
    shapes = {spec.name: spec.shape for spec in step.inputs}
    return public_inputs(count, position, shapes[HIDDEN][1], masked="attention_mask" in shapes)
