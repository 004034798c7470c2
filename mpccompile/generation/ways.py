"""Which way a generation goes on."""

from __future__ import annotations

from mpccompile.generation.generate import Generator, Recipe, Runner
from mpccompile.generation.reuse import ReuseGenerator


def generator_for(recipe: Recipe, run: Runner) -> Generator | ReuseGenerator:
    """Return what continues prompts the way the options ask for.

    Raises:
        CaptureFailed: If the model cannot generate.
        OptionError: If an option has no private generation.
    """
    kind = ReuseGenerator if recipe.options.generation == "reuse" else Generator
    return kind(recipe, run)
