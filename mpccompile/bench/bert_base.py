"""BERT-base against stock CrypTen, and what must not happen, counted."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from transformers import BertConfig

from mpccompile.bench.bars import MOST_ERROR, Bar, against_stock, at_most, on_mpcformer, table
from mpccompile.bench.machine import machine
from mpccompile.bench.race import OURS, PLAINTEXT, SEED, STOCK, Course, Finish, Say, race
from mpccompile.bench.truncations import count_wrong
from mpccompile.demo.run import run_demo

QUADRATICS = {"gelu": "quad", "softmax": "2quad"}
"""MPCFormer's replacements, as options."""
TRAINED_SNIPPETS = 64


@dataclass(frozen=True)
class Setting:
    """What to run.

    Attributes:
        layers: Layers of the model.
        stock_layers: Layers that stock CrypTen runs.
        tokens: Length of the input, batch 1.
        repeat: Runs of each way, in turn; medians are kept.
        device: Where mpccompile's parties compute; CrypTen's use the CPU.
        mpcformer: Also race on the graph with the quadratics that MPCFormer puts in place of GELU and softmax.
        trained: Also train the demo's classifier and run it privately, for the error with trained weights.
        truncations: How many truncations of adversarial values to check.
    """

    layers: int = 12
    stock_layers: int = 1
    tokens: int = 128
    repeat: int = 3
    device: str = "cpu"
    mpcformer: bool = True
    trained: bool = True
    truncations: int = 1_000_000_000


@dataclass(frozen=True)
class BertBase:
    """What the benchmark measured; seconds are medians, and a party has one thread.

    Attributes:
        setting: What was run.
        machine: What it ran on.
        exact: The race on the model as it is.
        quadratic: The race on MPCFormer's graph, if there was one.
        bars: The ratios, and what they are held to.
    """

    setting: Setting
    machine: Mapping[str, str | int]
    exact: Finish
    quadratic: Finish | None
    bars: tuple[Bar, ...]

    @property
    def passed(self) -> bool:
        """Whether every bar is met."""
        return all(bar.passed is not False for bar in self.bars)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {**asdict(self), "passed": self.passed}

    def print_to(self, console: Console) -> None:
        """Print the costs, and the ratios with their bars."""
        console.print(_cost_table(self))
        console.print(table(self.bars))


def run(setting: Setting, console: Console | None = None, *, config: BertConfig | None = None) -> BertBase:
    """Measure BERT-base with random weights, batch 1, and count what must not happen.

    Args:
        setting: What to run.
        console: Where to tell of progress and print the tables.
        config: Another model than BERT-base, such as a tiny one for a test.
    """
    say: Say = console.print if console is not None else str
    exact = race(_course(setting, config, {}), say)
    bars = against_stock(exact.ours, exact.stock, exact.plain, max(exact.peak_bytes))
    quadratic = None
    if setting.mpcformer:
        say("the same on MPCFormer's graph")
        quadratic = race(_course(setting, config, QUADRATICS), say)
        bars += (on_mpcformer(quadratic.ours, quadratic.stock),)
    found = BertBase(setting, machine(), exact, quadratic, (*bars, *_counted(setting, say)))
    if console is not None:
        found.print_to(console)
    return found


def _course(setting: Setting, config: BertConfig | None, options: Mapping[str, Any]) -> Course:
    whole = BertConfig(**{**(config or BertConfig()).to_dict(), "num_hidden_layers": setting.layers})
    return Course(
        whole, setting.tokens, setting.layers, setting.stock_layers, setting.repeat, setting.device, dict(options)
    )


def _counted(setting: Setting, say: Say) -> tuple[Bar, ...]:
    """Run what is no race: trained weights, and truncations."""
    bars: tuple[Bar, ...] = ()
    if setting.trained:
        say("training the demo's classifier, and running it privately")
        result = run_demo(Console(file=io.StringIO()), test_snippets=TRAINED_SNIPPETS)
        bars += (at_most("largest error of a logit, trained weights", result.largest_difference, MOST_ERROR),)
    if setting.truncations:
        say(f"truncating {setting.truncations:,} adversarial values")
        wrong = count_wrong(setting.truncations, SEED)
        bars += (at_most(f"wrong ones of {setting.truncations:,} truncations of adversarial values", wrong, 0),)
    return bars


def _cost_table(result: BertBase) -> Table:
    setting = result.setting
    title = f"BERT-base, {setting.layers} layers, {setting.tokens} tokens, batch 1, one thread a party"
    costs = Table(title=title)
    costs.add_column("way")
    for name in ("layers", "online", "offline", "a party sends", "rounds", "largest error"):
        costs.add_column(name, justify="right")
    for note, finish in (("", result.exact), (", MPCFormer's graph", result.quadratic)):
        if finish is not None:
            _add_rows(costs, finish, note, setting)
    peak = max(result.exact.peak_bytes) / 1e9
    costs.caption = (
        f"Stock CrypTen as it runs by default: rank 0 makes the triples during the call (its offline), GELU by tanh;"
        f" it ran {setting.stock_layers} of {setting.layers} layers, and what they took is scaled."
        f" Compiled in {result.exact.compile_seconds:.0f} s; a party of ours held {peak:.1f} GB at most."
        f" {result.machine['processor']}, {result.machine['cores']} cores, torch {result.machine['torch']}."
    )
    return costs


def _add_rows(costs: Table, finish: Finish, note: str, setting: Setting) -> None:
    rows = (
        (OURS, finish.ours, setting.layers, f"{finish.ours.max_error:.2g}"),
        (STOCK, finish.stock_as_run, setting.stock_layers, f"{finish.stock_as_run.max_error:.2g}"),
        (f"{STOCK}, scaled", finish.stock, setting.layers, ""),
        (PLAINTEXT, finish.plain, setting.layers, "0"),
    )
    for name, cost, layers, error in rows:
        seconds = (f"{cost.online_seconds:.2f} s", f"{cost.offline_seconds:.2f} s")
        shown = (f"{cost.bytes_sent / 1e6:.1f} MB", f"{cost.rounds:.0f}", error)
        costs.add_row(name + note, str(layers), *seconds, *shown)
