"""Generation from a folder of three programs, of which nobody learns anything before the end of a text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mpccompile.capture.cached import HIDDEN
from mpccompile.capture.chosen import CHOSEN
from mpccompile.errors import MpcCompileError, OptionError
from mpccompile.generation.examples import token_inputs
from mpccompile.generation.prompts import whole
from mpccompile.generation.requests import check_for_package
from mpccompile.generation.text import Text

if TYPE_CHECKING:
    from mpccompile.codegen.package import Package
    from mpccompile.generation.choices import Choices


class ClosedReader:
    """Continues prompts privately, from their hidden states or with tokens that the parties choose on shares.

    The prompt is read a token a call, so that one program serves prompts of every length. A text takes
    ``max_new_tokens`` steps whatever it says.

    Args:
        read: Reads a token of the prompt.
        step: Goes on by one position.
        end: Tells the client: of all tokens that were chosen, or, at one position, of the logits there.
        run: Runs a package on inputs, its resident outputs put from a row on, and returns what the client learns.
    """

    def __init__(
        self, read: Package, step: Package, end: Package, run: Callable[[Package, dict[str, Tensor], int], list[Tensor]]
    ) -> None:
        self._read, self._step, self._end = read, step, end
        self._run = run
        self._rows = next(spec.shape[1] for spec in step.inputs if spec.name == HIDDEN)
        self._vocabulary = next(spec.table_rows for spec in read.inputs if spec.name == "input_ids")
        self._chooses = CHOSEN in dict(step.output.resident)

    @property
    def packages(self) -> tuple[Package, ...]:
        """The three programs."""
        return (self._read, self._step, self._end)

    def programs(self, _rows: int) -> dict[str, Package]:
        """Return the programs as they are: their folder holds them all."""
        return {"": self._read}

    def generate(self, input_ids: Tensor, choices: Choices, attention_mask: Tensor | None = None) -> Tensor:
        """Return the prompt [1, T] and what follows it, [1, T + new].

        Raises:
            InputError: If the prompt is empty or too long, or an id is outside the vocabulary.
            OptionError: If a choice means nothing here.
            MpcCompileError: If a call fails; ``generated`` has the ids that the client knew by then.
        """
        self._check(whole(input_ids, attention_mask), choices)
        text = Text(input_ids, choices)
        try:
            for place in range(input_ids.shape[1]):
                self._call(self._read, place, input_ids[:, place : place + 1])
            (self._told if self._chooses else self._picked)(text, choices.max_new_tokens)
        except MpcCompileError as error:
            error.generated = text.ids
            raise
        finally:
            text.end()
        return text.ids

    def _told(self, text: Text, new_tokens: int) -> None:
        """Let the parties choose every token, and tell the client of all rows there can be."""
        length = text.ids.shape[1]
        for place in range(length, length + new_tokens):
            self._call(self._step, place)
        positions = torch.arange(next(spec.shape[1] for spec in self._end.inputs if spec.name == "position_ids"))
        (chosen,) = self._run(self._end, {"position_ids": positions.unsqueeze(0)}, length + new_tokens)
        for ids in chosen[:, length : length + new_tokens, 0].round().long().unbind(1):
            if text.ended:
                return
            text.take(ids)

    def _picked(self, text: Text, new_tokens: int) -> None:
        """Go on from hidden states, and let the client pick from the logits of all new positions."""
        length = text.ids.shape[1]
        last = length + new_tokens - 1
        for place in range(length, last):
            self._call(self._step, place)
        for place in range(length - 1, last):
            (logits,) = self._run(self._end, {"position_ids": torch.tensor([[place]])}, last)
            text.add(logits[:, 0])

    def _call(self, package: Package, place: int, token: Tensor | None = None) -> None:
        known = {spec.name for spec in package.inputs}
        inputs = token_inputs(torch.zeros(1, 1, dtype=torch.long) if token is None else token, place, self._rows)
        self._run(package, {name: value for name, value in inputs.items() if name in known}, place)

    def _check(self, ids: Tensor, choices: Choices) -> None:
        if self._chooses and choices.do_sample:
            raise OptionError(
                "the parties choose the likeliest tokens of this package's texts: there is nothing to draw from",
                where="argument do_sample",
                hint="Leave it out, or compile a package whose client selects.",
            )
        if choices.selection == "secret" and not self._chooses:
            raise OptionError(
                "this package goes on from hidden states, where no step needs a token",
                where="argument selection",
                hint="Leave it out.",
            )
        check_for_package(ids, choices, self._vocabulary, self._rows + 1)
