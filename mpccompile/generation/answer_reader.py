"""Answers from a folder of two programs, or three: what reads a source, what goes on by a token, and what tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mpccompile.capture.chosen import CHOSEN
from mpccompile.errors import InputError, MpcCompileError, OptionError
from mpccompile.generation.answers import START, public_inputs, rows_of
from mpccompile.generation.requests import check_ids, check_padded
from mpccompile.generation.text import Text

if TYPE_CHECKING:
    from mpccompile.codegen.package import Package
    from mpccompile.generation.choices import Choices


class AnswerReader:
    """Answers sources privately. One program serves sources of every length: shorter ones are padded, and masked.

    All parties learn how long a source is, the token that answers start with, and how many tokens are read.

    Args:
        read: Reads a source and the start token.
        step: Goes on by one token.
        end: Tells the client of all tokens, where the parties choose them; None where the client does.
        start: The token that answers start with: ranges were calibrated on answers to it.
        padding: The id that sources are padded with, if there is one.
        run: Runs a package on inputs, its resident outputs put from a row on, and returns what the client learns.
    """

    def __init__(
        self,
        read: Package,
        step: Package,
        end: Package | None,
        start: int,
        padding: int | None,
        run: Callable[[Package, dict[str, Tensor], int], list[Tensor]],
    ) -> None:
        self._read, self._step, self._end = read, step, end
        self._start, self._padding = start, padding
        self._run = run
        ids = next(spec for spec in read.inputs if spec.name == "input_ids")
        self._most, self._vocabulary = ids.shape[1], ids.table_rows

    @property
    def packages(self) -> tuple[Package, ...]:
        """The programs."""
        return (self._read, self._step) if self._end is None else (self._read, self._step, self._end)

    @property
    def start(self) -> int:
        """The token that answers start with."""
        return self._start

    @property
    def padding(self) -> int | None:
        """The id that sources are padded with, which a mask has to hide."""
        return self._padding

    def programs(self, _rows: int) -> dict[str, Package]:
        """Return the programs as they are: their folder holds them all."""
        return {"": self._read}

    def generate(self, input_ids: Tensor, choices: Choices, attention_mask: Tensor | None = None) -> Tensor:
        """Return the answer to a source [1, S]: the start token and what follows it, [1, 1 + new].

        Raises:
            InputError: If a source is empty, too long or more than one, an id outside the vocabulary, or padding not
                masked.
            OptionError: If a choice means nothing here.
            MpcCompileError: If a call fails; ``generated`` has the ids that the client knew by then.
        """
        check_padded(self._padding, input_ids, attention_mask)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask.bool().long()
        self._check(input_ids, mask, choices)
        text = Text(torch.tensor([[self._start]]), choices)
        missing = (0, self._most - input_ids.shape[1])
        source = {
            "input_ids": nn.functional.pad(input_ids, missing),
            "attention_mask": nn.functional.pad(mask, missing),
        }
        try:
            logits = self._run(self._read, {**source, START: text.ids}, 0)
            if self._end is None:
                self._picked(text, logits[0], source["attention_mask"])
            else:
                self._told(text, self._end, source["attention_mask"], choices.max_new_tokens)
        except MpcCompileError as error:
            error.generated = text.ids
            raise
        finally:
            text.end()
        return text.ids

    def _picked(self, text: Text, logits: Tensor, mask: Tensor) -> None:
        """Let the client pick each token from its logits."""
        text.add(logits)
        while not text.ended:
            place = text.ids.shape[1] - 1
            inputs = {"input_ids": text.ids[:, -1:], **public_inputs(mask, place, rows_of(self._step))}
            (logits,) = self._run(self._step, inputs, place)
            text.add(logits)

    def _told(self, text: Text, end: Package, mask: Tensor, new_tokens: int) -> None:
        """Let the parties choose every token, and tell the client of all rows there can be."""
        rows = rows_of(self._step)
        for place in range(1, 1 + new_tokens):
            self._run(self._step, public_inputs(mask, place, rows), place)
        (chosen,) = self._run(end, {"position_ids": torch.arange(rows).unsqueeze(0)}, 1 + new_tokens)
        for ids in chosen[:, 1 : 1 + new_tokens, 0].round().long().unbind(1):
            if text.ended:
                return
            text.take(ids)

    def _check(self, ids: Tensor, mask: Tensor, choices: Choices) -> None:
        check_ids(ids, self._vocabulary)
        if ids.shape[0] != 1:
            raise InputError("a package answers one source at a time", where="argument input_ids", hint="Give one row.")
        if not bool(mask.any()):
            raise InputError("the mask hides all of the source", where="argument attention_mask")
        rows = rows_of(self._step) - (self._end is not None)
        if ids.shape[1] > self._most or choices.max_new_tokens > rows:
            raise InputError(
                f"a source of {ids.shape[1]} tokens and {choices.max_new_tokens} new ones are more than the"
                f" {self._most} and {rows} that the package was compiled for",
                where="arguments input_ids and max_new_tokens",
                hint="Shorten them, or compile with longer examples or a larger --generate.",
            )
        self._check_choices(choices)

    def _check_choices(self, choices: Choices) -> None:
        if choices.decoder_start_token_id not in (None, self._start):
            raise OptionError(
                f"this package was compiled for answers that start with token {self._start}",
                where="argument decoder_start_token_id",
                hint="Leave it out, or set it in the model's config and compile again.",
            )
        chooses = CHOSEN in dict(self._step.output.resident)
        if chooses and choices.do_sample:
            raise OptionError(
                "the parties choose the likeliest tokens of this package's answers: there is nothing to draw from",
                where="argument do_sample",
                hint="Leave it out, or compile a package whose client selects.",
            )
        if choices.selection == "secret" and not chooses:
            raise OptionError(
                "the client picks the tokens of this package's answers",
                where="argument selection",
                hint="Compile one with --selection secret to have them chosen by the parties.",
            )
