"""Generation from a package alone: one program reads the tokens of a text one by one, those of the prompt too."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from mpccompile.errors import MpcCompileError, OptionError
from mpccompile.generation.examples import token_inputs
from mpccompile.generation.prompts import whole
from mpccompile.generation.requests import check_for_package
from mpccompile.generation.text import Text

if TYPE_CHECKING:
    from mpccompile.codegen.package import Package
    from mpccompile.generation.choices import Choices


class Reader:
    """Continues prompts privately with the program of a package.

    The prompt is read as the rest is, a token a call, so that one program serves prompts of every length. The client
    learns the logits after each of its own tokens as well.

    Args:
        package: A program that reads a token.
        run: Runs a package on inputs, its resident outputs put from a row on, and returns what the client learns.

    Raises:
        MpcCompileError: If the package reads no token.
    """

    def __init__(self, package: Package, run: Callable[[Package, dict[str, Tensor], int], list[Tensor]]) -> None:
        if not any(spec.resident for spec in package.inputs):
            raise MpcCompileError(
                "the package answers inputs and writes no text",
                where=str(package.folder),
                hint="Compile it with --generate TOKENS.",
            )
        self._package = package
        self._run = run
        shapes = {spec.name: spec for spec in package.inputs}
        self._most = shapes["attention_mask"].shape[1]
        self._vocabulary = shapes["input_ids"].table_rows

    @property
    def packages(self) -> tuple[Package, ...]:
        """The one program."""
        return (self._package,)

    def programs(self, _rows: int) -> dict[str, Package]:
        """Return the program as it is."""
        return {"": self._package}

    def generate(self, input_ids: Tensor, choices: Choices, attention_mask: Tensor | None = None) -> Tensor:
        """Return the prompt [1, T] and what follows it, [1, T + new].

        Raises:
            InputError: If the prompt is empty or too long, or an id is outside the vocabulary.
            MpcCompileError: If a call fails; ``generated`` has the ids up to then.
        """
        self._check(whole(input_ids, attention_mask), choices)
        text = Text(input_ids, choices)
        try:
            place = 0
            while not text.ended:
                token = text.ids[:, place : place + 1]
                (logits,) = self._run(self._package, token_inputs(token, place, self._most - 1), place)
                place += 1
                if place == text.ids.shape[1]:
                    text.add(logits)
        except MpcCompileError as error:
            error.generated = text.ids
            raise
        finally:
            text.end()
        return text.ids

    def _check(self, ids: Tensor, choices: Choices) -> None:
        if choices.selection != "client":
            raise OptionError(
                "the client picks the tokens of a package's texts",
                where="argument selection",
                hint="Compile one with --selection secret to have them chosen by the parties.",
            )
        check_for_package(ids, choices, self._vocabulary, self._most)
