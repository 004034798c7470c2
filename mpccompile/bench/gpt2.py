"""GPT-2 small against stock CrypTen with a cache of its own: what one more token takes, and a text of 128."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

from mpccompile.bench.bars import Bar, at_least, at_most, table
from mpccompile.bench.decoding import Course, Finish, decode
from mpccompile.bench.machine import machine
from mpccompile.bench.race import OURS, STOCK

if TYPE_CHECKING:
    from rich.console import Console

MOST_TOKEN_BYTES = 4e6
MOST_TEXT_BYTES = 8 << 30


@dataclass(frozen=True)
class Gpt2:
    """What the benchmark measured.

    Attributes:
        machine: What it ran on.
        layers: Layers of the model.
        stock_layers: Layers that stock CrypTen ran.
        context: Tokens before the one that is measured.
        found: The costs.
        bars: The ratios, and what they are held to.
    """

    machine: Mapping[str, str | int]
    layers: int
    stock_layers: int
    context: int
    found: Finish
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
        console.print(_token_table(self))
        console.print(_text_table(self))
        console.print(table(self.bars))


def run(course: Course, console: Console | None = None) -> Gpt2:
    """Measure a GPT-2 with random weights.

    Args:
        course: What to run.
        console: Where to tell of progress and print the tables.
    """
    found = decode(course, console.print if console is not None else str)
    result = Gpt2(machine(), course.config.n_layer, course.stock_layers, course.context, found, _bars(found))
    if console is not None:
        result.print_to(console)
    return result


def _bars(found: Finish) -> tuple[Bar, ...]:
    ours, stock, text = found.ours, found.stock, found.text
    whole, online = stock.seconds / ours.online_seconds, stock.online_seconds / ours.online_seconds
    sent = f"text of {text.tokens} tokens: bytes sent by all, loading included"
    return (
        at_least("one token: bytes a party sends online", stock.bytes_sent / ours.bytes_sent, 300.0),
        at_most("one token: bytes a party sends online, here", ours.bytes_sent, MOST_TOKEN_BYTES),
        at_least("one token: online time, stock CrypTen as it runs", whole, 20.0),
        at_least("one token: online time, stock CrypTen less its triples", online, 20.0),
        Bar("one token: online and offline time", stock.seconds / ours.seconds),
        at_least("one token: rounds online", stock.rounds / ours.rounds, 5.0),
        at_most(sent, text.bytes_in_all, MOST_TEXT_BYTES),
        Bar("text: memory of a party at its end over that at its second token", _growth(text.peak_bytes)),
        Bar("text: tokens that are the plain model's, up to the first that is not", text.same),
    )


def _growth(peaks: tuple[tuple[int, int], tuple[int, int]]) -> float:
    return max(last / first for first, last in zip(*peaks, strict=True))


def _token_table(result: Gpt2) -> Table:
    title = f"GPT-2, {result.layers} layers: one token after {result.context}, batch 1, one thread a party"
    costs = Table(title=title)
    costs.add_column("way")
    for name in ("layers", "online", "offline", "a party sends", "rounds"):
        costs.add_column(name, justify="right")
    found = result.found
    for name, cost, layers in (
        (OURS, found.ours, result.layers),
        (STOCK, found.stock_as_run, result.stock_layers),
        (f"{STOCK}, scaled", found.stock, result.layers),
    ):
        seconds = (f"{cost.online_seconds:.2f} s", f"{cost.offline_seconds:.2f} s")
        costs.add_row(name, str(layers), *seconds, f"{cost.bytes_sent / 1e6:.2f} MB", f"{cost.rounds:.0f}")
    costs.caption = (
        f"Stock CrypTen as it runs by default: rank 0 makes the triples during the call (its offline), GELU by tanh; it"
        f" ran {result.stock_layers} of {result.layers} layers, and what they took is scaled."
        f" {result.machine['processor']}, {result.machine['cores']} cores, torch {result.machine['torch']}."
    )
    return costs


def _text_table(result: Gpt2) -> Table:
    text = result.found.text
    shown = Table(title=f"A text of {text.tokens} new tokens by {OURS}")
    for name in ("online", "offline", "sent online", "sent by the dealer", "sent to load", "memory of a party"):
        shown.add_column(name, justify="right")
    sent = (f"{size / 1e9:.2f} GB" for size in (text.online_bytes, text.offline_bytes, text.load_bytes))
    seconds = (f"{text.online_seconds:.0f} s", f"{text.offline_seconds:.0f} s")
    shown.add_row(*seconds, *sent, f"{max(text.peak_bytes[1]) / 1e9:.1f} GB")
    shown.caption = f"Compiled and started in {result.found.compile_seconds:.0f} s."
    return shown
