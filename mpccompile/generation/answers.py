"""Private answers of a model with an encoder: the source is read once, then the answer goes on a token at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mpccompile import compiler
from mpccompile.capture.cached import cache_names
from mpccompile.capture.encoder_decoder import ReadAnswer, ReadSource, check_encoder_decoder, cross_names
from mpccompile.capture.from_torch import as_for_inference
from mpccompile.errors import InputError, MpcCompileError, OptionError
from mpccompile.generation.examples import filled, places_over
from mpccompile.generation.generate import CALIBRATION_TOKENS, Recipe, Runner, takes
from mpccompile.generation.requests import check_ids, check_options, check_padding
from mpccompile.generation.text import Text
from mpccompile.options import Options

if TYPE_CHECKING:
    from mpccompile.codegen.package import Package
    from mpccompile.generation.choices import Choices

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

    def __init__(self, recipe: Recipe, run: Runner) -> None:
        check_options(recipe)
        check_encoder_decoder(recipe.model)
        self._recipe = recipe
        self._run = run
        self._sources: dict[tuple[int, int], Package] = {}
        self._tokens: dict[tuple[int, int, int], Package] = {}
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
        source, mask = self._checked(input_ids, choices, attention_mask)
        start = self._start_of(choices)
        with self._lock:
            text = Text(torch.full((source.shape[0], 1), start), choices)
            try:
                self._steps(text, {"input_ids": source, "attention_mask": mask}, choices.max_new_tokens)
            except MpcCompileError as error:
                error.generated = text.ids
                raise
            finally:
                text.end()
            return text.ids

    def programs(self, rows: int) -> dict[str, Package]:
        """Refuse to make a package: the lengths of source and answer are not one number.

        Raises:
            OptionError: Always.
        """
        raise OptionError(
            f"a package that generates {rows} tokens has no place for an encoder",
            hint="Generate from the model, or use a causal language model.",
        )

    def _checked(self, ids: Tensor, choices: Choices, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        if choices.selection != "client":
            raise OptionError(
                "selection='secret' is built for models without an encoder",
                where="argument selection",
                hint="Let the client select.",
            )
        check_ids(ids, self._recipe.setting("vocab_size"))
        check_padding(self._recipe, ids, mask)
        if mask is not None and not bool(mask.bool().any(-1).all()):
            raise InputError("the mask hides all of a source", where="argument attention_mask")
        return ids, torch.ones_like(ids) if mask is None else mask.bool().long()

    def _start_of(self, choices: Choices) -> int:
        start = choices.decoder_start_token_id
        start = self._recipe.setting("decoder_start_token_id") if start is None else start
        if start is None:
            raise OptionError(
                "nothing says which token answers start with",
                where="argument decoder_start_token_id",
                hint="Give it, or set it in the model's config.",
            )
        check_ids(torch.tensor([[start]]), self._recipe.setting("vocab_size"))
        return start

    def _steps(self, text: Text, source: Inputs, new_tokens: int) -> None:
        first, token = self._programs(source, text.ids, new_tokens)
        (logits,) = self._run(first, {**source, START: text.ids}, 0)
        text.add(logits)
        capacity = next(spec.shape[1] for spec in token.inputs if spec.name == "decoder_attention_mask") - 1
        while not text.ended:
            place = text.ids.shape[1] - 1
            inputs = _answer_inputs(text.ids[:, -1:], place, capacity, source["attention_mask"])
            (logits,) = self._run(token, inputs, place)
            text.add(logits)

    def _programs(self, source: Inputs, start: Tensor, new_tokens: int) -> tuple[Package, Package]:
        """Return the program that reads the source and the one that reads each token of the answer."""
        count, length = source["input_ids"].shape
        rows = self._recipe.capacity(new_tokens)
        if (count, length) not in self._sources:
            names = (*cache_names(self._layers), *cross_names(self._layers))
            sources = [{**each, START: start} for each in self._examples(source)]
            known = Options.merged(self._recipe.options, {"public": (*self._recipe.options.public, START)})
            module = ReadSource(self._recipe.model)
            self._sources[count, length] = self._compile(module, sources, dict.fromkeys(names, 1.0), known)
        first = self._sources[count, length]
        able = [at for at in self._tokens if at[:2] == (count, length) and at[2] >= new_tokens]
        able = [at for at in able if takes(self._tokens[at], first)]
        if not able:
            able = [(count, length, rows)]
            tokens = [token for each in self._examples(source) for token in self._answers(each, start, rows)]
            limits, options = dict(first.output.resident), self._recipe.options
            self._tokens[able[0]] = self._compile(ReadAnswer(self._recipe.model), tokens, limits, options)
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
        """Yield inputs of the program that reads a token, at places spread over the plain model's own answer."""
        reader, answer = ReadSource(self._recipe.model), start
        with as_for_inference(reader):
            for _ in range(min(CALIBRATION_TOKENS, capacity)):
                answer = torch.cat(
                    [answer, reader(**source, decoder_input_ids=answer)["logits"].argmax(-1)[:, None]], 1
                )
            held = reader(**source, decoder_input_ids=answer[:, :-1])
        own = {name: held[name] for name in cache_names(self._layers)}
        crossed = {name: held[name] for name in cross_names(self._layers)}
        for place in places_over(1, answer.shape[1] - 1):
            public = _answer_inputs(answer[:, place : place + 1], place, capacity, source["attention_mask"])
            yield {**public, **filled(own, place, capacity), **crossed}

    def _compile(
        self, reader: nn.Module, examples: Sequence[Inputs], resident: Mapping[str, float], options: Options
    ) -> Package:
        recipe = self._recipe
        first, *others = examples
        return compiler.build(
            reader,
            first,
            recipe.folder / f"answer{len(self.packages)}",
            options=options,
            passes=recipe.passes,
            calibration=others,
            resident=resident,
        )


def _answer_inputs(token: Tensor, place: int, capacity: int, source_mask: Tensor) -> Inputs:
    """Return what the program that reads a token takes besides the caches."""
    mask = torch.zeros(token.shape[0], capacity + 1, dtype=torch.long)
    mask[:, :place] = 1
    mask[:, -1] = 1
    return {
        "input_ids": token,
        "position_ids": torch.full((token.shape[0], 1), place),
        "attention_mask": source_mask,
        "decoder_attention_mask": mask,
    }
