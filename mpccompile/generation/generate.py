"""Private generation: the prompt is read by one program, each further token by another, and the client picks them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from mpccompile import compiler
from mpccompile.capture.cached import ReadPrompt, ReadToken, cache_names
from mpccompile.errors import MpcCompileError
from mpccompile.generation.caches import check_reads_on
from mpccompile.generation.examples import continued, prompts_of, token_inputs, tokens_of
from mpccompile.generation.prompts import whole
from mpccompile.generation.requests import check_compilable, check_padding, check_prompt, check_rows
from mpccompile.generation.text import Text

if TYPE_CHECKING:
    from mpccompile.codegen.package import Package
    from mpccompile.generation.choices import Choices
    from mpccompile.options import Options

Runner = Callable[["Package", dict[str, Tensor], int], list[Tensor]]
"""Runs a package on inputs, its resident outputs put from a row on, and returns what the client learns."""
CAPACITY_STEP = 32
"""Caches have a multiple of so many rows, so that generations of about the same length share a program."""
CALIBRATION_TOKENS = 32
"""How far the plain model continues each example, at most: its own text is what the parties will read."""


@dataclass(frozen=True)
class Recipe:
    """What the programs of a generation are compiled from.

    Attributes:
        model: The plain model.
        options: What to compile for.
        passes: What follows the recognisers.
        folder: Where packages go.
        examples: Prompts [B, T] to calibrate with; where none is as long as a given one, that one calibrates.
        least_rows: Rows that caches have at least, for longer texts to come.
    """

    model: nn.Module
    options: Options
    passes: Sequence[compiler.Pass]
    folder: Path
    examples: Sequence[Tensor] = ()
    least_rows: int = 0

    def capacity(self, rows: int) -> int:
        """Return how many rows a cache gets that holds ``rows``."""
        most, rows = self.setting("max_position_embeddings"), max(rows, self.least_rows)
        rounded = -(-rows // CAPACITY_STEP) * CAPACITY_STEP
        return rounded if most is None else max(rows, min(rounded, most - 1))

    def texts(self, rows: int) -> list[Tensor]:
        """Return the example prompts with the plain model's continuation, of up to ``rows`` tokens."""
        prompts = [prompt[:, : rows - 1] for prompt in self.examples]
        return continued(self.model, prompts, min(CALIBRATION_TOKENS, rows - max(p.shape[1] for p in prompts)))

    def setting(self, name: str) -> int | None:
        """Return a number of the model's configuration, or None where it has none of that name."""
        found = getattr(self.model.config, name, None)
        return found if isinstance(found, int) else None


class Generator:
    """Continues prompts privately. Programs are compiled when they are first needed, and kept.

    Keys and values stay with the parties as shares. The logits are opened to the client alone, who picks the token and
    brings it as the next input: the parties learn how many tokens are read, and nothing of which.

    Args:
        recipe: What to compile.
        run: Runs a package.
    """

    def __init__(self, recipe: Recipe, run: Runner) -> None:
        check_compilable(recipe)
        self._recipe = recipe
        self._run = run
        self._prompts: dict[tuple[int, int], Package] = {}
        self._tokens: dict[tuple[int, int], Package] = {}
        # Of folders: one that is replaced keeps its own, which the parties may have loaded.
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    @property
    def packages(self) -> tuple[Package, ...]:
        """The programs made so far: those that read a prompt, then those that read a token."""
        return (*self._prompts.values(), *self._tokens.values())

    def generate(self, input_ids: Tensor, choices: Choices, attention_mask: Tensor | None = None) -> Tensor:
        """Return the prompt [B, T] and what follows it, [B, T + new].

        Raises:
            InputError: If the prompt is empty or too long, or an id is outside the vocabulary.
            MpcCompileError: If a call fails; ``generated`` has the ids up to then.
        """
        check_prompt(self._recipe, whole(input_ids, attention_mask), choices)
        check_padding(self._recipe, input_ids, attention_mask)
        with self._lock:
            text = Text(input_ids, choices)
            try:
                self._steps(text, *self._programs(input_ids, choices))
            except MpcCompileError as error:
                error.generated = text.ids
                raise
            finally:
                text.end()
            return text.ids

    def programs(self, rows: int) -> dict[str, Package]:
        """Return a program that reads the tokens of one text of up to ``rows`` tokens, from the first on.

        Raises:
            OptionError: If there are no example prompts, or the model has fewer positions.
        """
        check_rows(self._recipe, rows)
        check_reads_on(self._recipe.model, rows - 1)
        layers = self._recipe.setting("num_hidden_layers") or 0
        limits = dict.fromkeys(cache_names(layers), 1.0)
        with self._lock:
            return {"": self._compile_token(self._recipe.texts(rows), 1, rows - 1, limits, first=0)}

    def _steps(self, text: Text, prompt: Package, token: Package) -> None:
        (logits,) = self._run(prompt, {"input_ids": text.ids}, 0)
        text.add(logits)
        while not text.ended:
            length = text.ids.shape[1] - 1
            (logits,) = self._run(token, token_inputs(text.ids[:, -1:], length, capacity_of(token)), length)
            text.add(logits)

    def _programs(self, ids: Tensor, choices: Choices) -> tuple[Package, Package]:
        """Return the program that reads the prompt and the one that reads each token after it."""
        shape = (int(ids.shape[0]), int(ids.shape[1]))
        rows = shape[1] + choices.max_new_tokens - 1
        fitting = [key for key in self._tokens if key[0] == shape[0] and key[1] >= rows]
        if not fitting:
            check_reads_on(self._recipe.model, self._recipe.capacity(rows))
        texts: list[Tensor] = []
        if shape not in self._prompts:
            texts = self._texts(ids, choices)
            self._prompts[shape] = self._compile_prompt(texts, shape)
        prompt = self._prompts[shape]
        able = [key for key in fitting if takes(self._tokens[key], prompt)]
        if not able:
            able = [(shape[0], self._recipe.capacity(rows))]
            texts = texts or self._texts(ids, choices)
            self._tokens[able[0]] = self._compile_token(texts, *able[0], dict(prompt.output.resident))
        return prompt, self._tokens[min(able)]

    def _texts(self, ids: Tensor, choices: Choices) -> list[Tensor]:
        most = min(CALIBRATION_TOKENS, choices.max_new_tokens)
        long = [example for example in self._recipe.examples if example.shape[1] >= ids.shape[1]]
        return continued(self._recipe.model, long or [ids], most)

    def _compile_prompt(self, texts: Sequence[Tensor], shape: tuple[int, int]) -> Package:
        layers = self._recipe.setting("num_hidden_layers") or 0
        first, *others = prompts_of(texts, shape)
        return self._compile(ReadPrompt(self._recipe.model), first, others, dict.fromkeys(cache_names(layers), 1.0))

    def _compile_token(
        self, texts: Sequence[Tensor], batch: int, capacity: int, resident: Mapping[str, float], first: int = 1
    ) -> Package:
        example, *others = tokens_of(self._recipe.model, texts, batch, capacity, first)
        return self._compile(ReadToken(self._recipe.model), example, others, resident)

    def _compile(
        self,
        reader: nn.Module,
        first: Mapping[str, Tensor],
        others: Sequence[Mapping[str, Tensor]],
        resident: Mapping[str, float],
    ) -> Package:
        recipe = self._recipe
        folder = recipe.folder / f"reader{next(self._numbers)}"
        return compiler.build(
            reader,
            first,
            folder,
            options=recipe.options,
            passes=recipe.passes,
            calibration=others,
            resident=resident,
        )


def capacity_of(package: Package) -> int:
    """Return how many rows the caches of a program that reads a token have."""
    return next(spec.shape[1] for spec in package.inputs if spec.name == "attention_mask") - 1


def takes(later: Package, earlier: Package) -> bool:
    """Say whether what one program may leave is within what was proven for the program that reads it."""
    limits = {spec.name: spec.limit for spec in later.inputs if spec.resident}
    left = dict(earlier.output.resident)
    return all(left[name] <= (limit or 0.0) for name, limit in limits.items())
