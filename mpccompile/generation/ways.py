"""Which way a generation goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpccompile.errors import OptionError
from mpccompile.generation.answers import AnswerGenerator
from mpccompile.generation.generate import Generator, Recipe, Runner
from mpccompile.generation.reuse import ReuseGenerator
from mpccompile.generation.secret import SecretGenerator
from mpccompile.generation.secret_answers import SecretAnswerGenerator

if TYPE_CHECKING:
    from mpccompile.generation.choices import Choices

AnyGenerator = Generator | ReuseGenerator | SecretGenerator | AnswerGenerator | SecretAnswerGenerator


class Ways:
    """What continues prompts, each way made when it is first asked for.

    Args:
        recipe: What to compile.
        run: Runs a package.
    """

    def __init__(self, recipe: Recipe, run: Runner) -> None:
        self._recipe = recipe
        self._run = run
        self._made: dict[type[AnyGenerator], AnyGenerator] = {}

    def way(self, choices: Choices) -> AnyGenerator:
        """Return what continues prompts the way the options and the choices ask for.

        Raises:
            CaptureFailed: If the model cannot generate.
            OptionError: If an option has no private generation.
        """
        kind = self._kind(choices)
        if kind not in self._made:
            self._made[kind] = kind(self._recipe, self._run)
        return self._made[kind]

    def _kind(self, choices: Choices) -> type[AnyGenerator]:
        reuse = self._recipe.options.generation == "reuse"
        if getattr(getattr(self._recipe.model, "config", None), "is_encoder_decoder", False):
            if reuse:
                raise OptionError(
                    "generation='reuse' goes on from hidden states of a model without an encoder",
                    where="option generation",
                    hint="Leave the option out.",
                )
            return SecretAnswerGenerator if choices.selection == "secret" else AnswerGenerator
        if reuse:
            return ReuseGenerator
        return SecretGenerator if choices.selection == "secret" else Generator
