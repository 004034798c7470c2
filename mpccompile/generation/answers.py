"""Private answers of a model with an encoder: the source is read once, then the answer goes on a token at a time."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mpccompile import compiler
from mpccompile.capture.cached import cache_names
from mpccompile.capture.encoder_decoder import ReadAnswer, ReadSource, check_encoder_decoder, cross_names
from mpccompile.capture.from_torch import as_for_inference
from mpccompile.errors import InputError, MpcCompileError, OptionError
from mpccompile.generation.choices import Choices
from mpccompile.generation.examples import filled, places_over
from mpccompile.generation.generate import CALIBRATION_TOKENS, Recipe, Runner, takes
from mpccompile.generation.requests import check_ids, check_options, check_padding, check_rows, padding_of
from mpccompile.generation.text import Text
from mpccompile.options import Options

if TYPE_CHECKING:
    from mpccompile.codegen.package import Package

Inputs = dict[str, Tensor]
START = "decoder_input_ids"
"""The input that says which token answers start with: public, so that it takes no look-up."""


class AnswerGenerator:
    """Answers sources privately. Programs are compiled when they are first needed, and kept.

    Keys and values of the source and of the answer stay with the parties as shares. The logits are opened to the client
    alone, who picks the token and brings it as the next input. The parties learn the sources' mask, the token that all
    answers start with, and how many tokens are read.

    Args:
        recipe: What to compile.
        run: Runs a package.
    """

    prefix = "answer"
    """Of the names of its programs' folders."""
    reader: type[nn.Module] = ReadSource
    """Reads a source and the start token."""
    step: type[nn.Module] = ReadAnswer
    """Reads a token of an answer."""
    left: tuple[str, ...] = ()
    """What stays of a source and of each step besides keys and values."""
    left_by_steps: Mapping[str, float] = MappingProxyType({})
    """What stays of each step alone, and what it stays below."""

    def __init__(self, recipe: Recipe, run: Runner) -> None:
        check_options(recipe)
        check_encoder_decoder(recipe.model)
        self._recipe = recipe
        self._run = run
        self._sources: dict[tuple[int, int], Package] = {}
        self._tokens: dict[tuple[int, int, int], Package] = {}
        # Of folders: one that is replaced keeps its own, which the parties may have loaded.
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    @property
    def packages(self) -> tuple[Package, ...]:
        """The programs made so far: those that read a source, then those that read a token."""
        return (*self._sources.values(), *self._tokens.values())

    def generate(self, input_ids: Tensor, choices: Choices, attention_mask: Tensor | None = None) -> Tensor:
        """Return answers to sources [B, S]: the start token and what follows it, [B, 1 + new].

        Raises:
            InputError: If a source is empty, an id outside the vocabulary, or padding not masked.
            OptionError: If a choice means nothing here, or nothing says which token answers start with.
            MpcCompileError: If a call fails; ``generated`` has the ids up to then.
        """
        source, mask = self._checked(input_ids, attention_mask)
        start = start_token(choices, self.start, self._recipe.setting("vocab_size"))
        with self._lock:
            text = Text(torch.full((source.shape[0], 1), start), choices)
            try:
                self.answer(text, {"input_ids": source, "attention_mask": mask}, choices.max_new_tokens)
            except MpcCompileError as error:
                error.generated = text.ids
                raise
            finally:
                text.end()
            return text.ids

    @property
    def start(self) -> int | None:
        """The token that answers start with, where nobody says another."""
        return self._recipe.setting("decoder_start_token_id")

    @property
    def padding(self) -> int | None:
        """The id that sources are padded with, which a mask has to hide."""
        return padding_of(self._recipe)

    def programs(self, rows: int) -> dict[str, Package]:
        """Return programs for one answer of up to ``rows`` new tokens, to sources up to as long as the longest example.

        Raises:
            OptionError: If there are no example sources, or nothing says which token answers start with.
        """
        check_rows(self._recipe, rows)
        start = torch.tensor([[start_token(Choices(), self.start, self._recipe.setting("vocab_size"))]])
        sources = [shorter for example in self._recipe.examples for shorter in _padded(example, self._longest)]
        with self._lock:
            read = self._compile_source(sources, start, folder="read")
            tokens = [token for source in sources for token in self._answers(source, start, self.rows_for(rows))]
            step = self._compile_step(tokens, read, folder="step")
            return {"": read, "step": step, **self.whole_end(step)}

    def rows_for(self, new_tokens: int) -> int:
        """Return how many rows the caches of a package need for so many new tokens."""
        return new_tokens

    def whole_end(self, step: Package) -> dict[str, Package]:  # noqa: ARG002 - where nothing is left to tell
        """Return what tells an answer of any length at its end, by the name of its folder; nothing where none is."""
        return {}

    @property
    def _longest(self) -> int:
        return max(example.shape[1] for example in self._recipe.examples)

    def _checked(self, ids: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        check_ids(ids, self._recipe.setting("vocab_size"))
        check_padding(self._recipe, ids, mask)
        if mask is not None and not bool(mask.bool().any(-1).all()):
            raise InputError("the mask hides all of a source", where="argument attention_mask")
        return ids, torch.ones_like(ids) if mask is None else mask.bool().long()

    def answer(self, text: Text, source: Inputs, new_tokens: int) -> None:
        """Add tokens to a text that has the start token."""
        first, token = self._programs(source, text.ids, new_tokens)
        (logits,) = self._run(first, {**source, START: text.ids}, 0)
        text.add(logits)
        capacity = rows_of(token)
        while not text.ended:
            place = text.ids.shape[1] - 1
            inputs = {"input_ids": text.ids[:, -1:], **public_inputs(source["attention_mask"], place, capacity)}
            (logits,) = self._run(token, inputs, place)
            text.add(logits)

    def _programs(self, source: Inputs, start: Tensor, new_tokens: int) -> tuple[Package, Package]:
        """Return the program that reads the source and the one that goes on by a token."""
        count, length = source["input_ids"].shape
        rows = self._recipe.capacity(new_tokens)
        if (count, length) not in self._sources:
            self._sources[count, length] = self._compile_source(self._examples(source), start)
        first = self._sources[count, length]
        able = [at for at in self._tokens if at[:2] == (count, length) and at[2] >= new_tokens]
        able = [at for at in able if takes(self._tokens[at], first)]
        if not able:
            able = [(count, length, rows)]
            tokens = [token for each in self._examples(source) for token in self._answers(each, start, rows)]
            self._tokens[able[0]] = self._compile_step(tokens, first)
        return first, self._tokens[min(able)]

    @property
    def _layers(self) -> int:
        return self._recipe.setting("num_decoder_layers") or self._recipe.setting("num_layers") or 0

    def _examples(self, source: Inputs) -> list[Inputs]:
        """Return sources of the shape of a given one to calibrate with; that one itself where there are none."""
        count, length = source["input_ids"].shape
        found = []
        for example in self._recipe.examples:
            for start in range(0, example.shape[0], count):
                ids = example[(start + torch.arange(count)) % example.shape[0]]
                if ids.shape[1] >= length:
                    ids = ids[:, :length]
                    found.append({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
        return found or [source]

    def _answers(self, source: Inputs, start: Tensor, capacity: int) -> Iterator[Inputs]:
        """Yield inputs of the program that goes on, at places spread over the plain model's own answer."""
        reader, left, answer = ReadSource(self._recipe.model), self.reader(self._recipe.model), start
        with as_for_inference(reader):
            for _ in range(min(CALIBRATION_TOKENS, capacity)):
                answer = torch.cat(
                    [answer, reader(**source, decoder_input_ids=answer)["logits"].argmax(-1)[:, None]], 1
                )
        with as_for_inference(left):
            held = left(**source, decoder_input_ids=answer[:, :-1])
        own = {name: held[name] for name in (*cache_names(self._layers), *self.left)}
        crossed = {name: held[name] for name in cross_names(self._layers)}
        for place in places_over(1, answer.shape[1] - 1):
            public = public_inputs(source["attention_mask"], place, capacity)
            yield {**self.brought(answer, place), **public, **filled(own, place, capacity), **crossed}

    def brought(self, answer: Tensor, place: int) -> Inputs:
        """Return what the client brings to a step of an answer [B, T]: the token at its place."""
        return {"input_ids": answer[:, place : place + 1]}

    def _compile_source(self, sources: Sequence[Inputs], start: Tensor, folder: str = "") -> Package:
        names = [*cache_names(self._layers), *cross_names(self._layers), *self.left]
        known = Options.merged(self._recipe.options, {"public": (*self._recipe.options.public, START)})
        examples = [{**each, START: start} for each in sources]
        return self.compiled(self.reader(self._recipe.model), examples, dict.fromkeys(names, 1.0), known, folder)

    def _compile_step(self, tokens: Sequence[Inputs], first: Package, folder: str = "") -> Package:
        limits = {**self.left_by_steps, **dict(first.output.resident)}
        return self.compiled(self.step(self._recipe.model), tokens, limits, self._recipe.options, folder)

    def compiled(
        self,
        reader: nn.Module,
        examples: Sequence[Inputs],
        resident: Mapping[str, float],
        options: Options,
        folder: str = "",
    ) -> Package:
        """Compile one of the programs, for inputs shaped like the first example."""
        recipe = self._recipe
        first, *others = examples
        return compiler.build(
            reader,
            first,
            recipe.folder / f"{self.prefix}{folder or next(self._numbers)}",
            options=options,
            passes=recipe.passes,
            calibration=others,
            resident=resident,
        )


def start_token(choices: Choices, known: int | None, vocabulary: int | None) -> int:
    """Return the token that answers start with: the one that was asked for, or else the known one.

    Raises:
        InputError: If it is outside the vocabulary.
        OptionError: If there is neither.
    """
    start = known if choices.decoder_start_token_id is None else choices.decoder_start_token_id
    if start is None:
        raise OptionError(
            "nothing says which token answers start with",
            where="argument decoder_start_token_id",
            hint="Give it, or set it in the model's config.",
        )
    check_ids(torch.tensor([[start]]), vocabulary)
    return start


def _padded(example: Tensor, length: int) -> Iterator[Inputs]:
    """Yield the sources of an example [B, S] one by one, whole and cut short, padded to a length.

    What stands where a source is padded goes through the encoder too, and has to stay in its ranges.
    """
    for ids in example.split(1):
        for size in sorted({ids.shape[1], -(-ids.shape[1] // 2), 1}, reverse=True):
            missing = (0, length - size)
            mask = torch.ones(1, size, dtype=torch.long)
            yield {
                "input_ids": nn.functional.pad(ids[:, :size], missing),
                "attention_mask": nn.functional.pad(mask, missing),
            }


def rows_of(token: Package) -> int:
    """Return how many rows the caches of a program that goes on have."""
    return next(spec.shape[1] for spec in token.inputs if spec.name == "decoder_attention_mask") - 1


def public_inputs(source_mask: Tensor, place: int, capacity: int) -> Inputs:
    """Return what all parties know of a step besides the model.

    Args:
        source_mask: 1 where a source is no padding, [B, S].
        place: The token's position in the answers.
        capacity: Rows of the caches.
    """
    mask = torch.zeros(source_mask.shape[0], capacity + 1, dtype=torch.long)
    mask[:, :place] = 1
    mask[:, -1] = 1
    return {
        "position_ids": torch.full((source_mask.shape[0], 1), place),
        "attention_mask": source_mask,
        "decoder_attention_mask": mask,
    }
