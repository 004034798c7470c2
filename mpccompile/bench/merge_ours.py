"""What a text takes here: a few of its steps are run, with caches as long as the whole text needs them.

A step of ours costs the same wherever it stands in its text, because caches have their full length from the start.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from mpccompile import compiler
from mpccompile.bench.race import OURS
from mpccompile.generation.choices import Choices
from mpccompile.generation.generate import Recipe
from mpccompile.generation.ways import Ways
from mpccompile.ir.program import Secrecy
from mpccompile.options import Options
from mpccompile.report.compare import Cost, middle
from mpccompile.report.profile import Profile
from mpccompile.runtime.session import Session

if TYPE_CHECKING:
    from torch import Tensor

    from mpccompile.bench.merge_text import Text
    from mpccompile.bench.merge_variants import Variant
    from mpccompile.codegen.package import Package

WARM = 1
"""Steps that run before those that count."""


def text_here(variant: Variant, text: Text, repeat: int, device: str) -> tuple[Cost, tuple[int, int]]:
    """Run the prompt, a few steps and the end of a text.

    Returns:
        What the whole text of all layers takes, and the most memory that (rank 0, rank 1) held.
    """
    ran = _profiles(variant, text, text.our_layers, WARM + repeat, device)
    factors = dict.fromkeys(("start", "step"), 1.0)
    if text.our_layers < text.layers:
        # The dealer's work is not timed layer by layer: it is scaled by what is dealt for one more layer.
        less = _profiles(variant, text, text.our_layers - 1, 1, device)
        factors = {
            "start": _dealt(ran[0].offline_bytes, less[0].offline_bytes, text),
            "step": _dealt(ran[1].offline_bytes, less[1].offline_bytes, text),
        }
    start = text.of_all_layers(ran[0], text.our_layers, OURS, factors["start"])
    steps = ran[1 + WARM : 1 + WARM + repeat]
    step = middle(OURS, [text.of_all_layers(one, text.our_layers, OURS, factors["step"]) for one in steps])
    parts = [(start, 1.0), (step, text.new_tokens - 1.0)]
    if variant.resends:
        end = ran[-1].cost(OURS, 0.0)
        # Only its rounds do not grow with the positions.
        parts += [(end, text.new_tokens / (1 + WARM + repeat))]
        parts += [(Cost(OURS, 0.0, rounds=end.rounds), 1 - text.new_tokens / (1 + WARM + repeat))]
    return added(parts), ran[-1].peak_bytes


def added(parts: Sequence[tuple[Cost, float]]) -> Cost:
    """Return the sum of costs, each so many times; errors are not added."""

    def total(name: str) -> float:
        return float(sum(getattr(cost, name) * times for cost, times in parts))

    names = ("online_seconds", "offline_seconds", "bytes_sent", "offline_bytes", "rounds")
    return Cost(parts[0][0].name, *(total(name) for name in names))


def _profiles(variant: Variant, text: Text, layers: int, steps: int, device: str) -> list[Profile]:
    """Return the profiles of the prompt, of steps, and of the end where hidden states are resent."""
    options = Options.merged(None, {**variant.options, "device": device})
    options = replace(options, generation="reuse") if variant.resends else options
    with tempfile.TemporaryDirectory(prefix="mpccompile-") as folder, _Meter(device) as meter:
        model = variant.model(text.config, layers, text.length)
        recipe = Recipe(model, options, compiler.passes_for(options), Path(folder), (), text.length - 1)
        choices = Choices(max_new_tokens=1 + steps)
        Ways(recipe, meter.run).way(choices).generate(text.prompt_ids(), choices)
        return meter.profiles


def _dealt(bytes_ran: int, bytes_less: int, text: Text) -> float:
    return 1 + (text.layers - text.our_layers) * (bytes_ran - bytes_less) / bytes_ran


class _Meter:
    """Runs programs in a session, and keeps the profile of every call."""

    def __init__(self, device: str) -> None:
        self._session = Session(device)
        self.profiles: list[Profile] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._session.close()

    def run(self, package: Package, inputs: dict[str, Tensor], first_row: int) -> list[Tensor]:
        name = str(package.folder.resolve())
        if not self._session.is_loaded(name):
            self._session.load(name, package.folder)
        public = frozenset(spec.name for spec in package.inputs if spec.secrecy is Secrecy.PUBLIC)
        outputs, report = self._session.run(name, inputs, public, first_row)
        self.profiles.append(Profile.of(package, report))
        return outputs
