"""Figures of a benchmark, and the bars they are held to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from mpccompile.report.compare import Cost

MOST_ERROR = 1e-2
MOST_PEAK_BYTES = 4 << 30
LEAST_ON_MPCFORMER = 10.0


@dataclass(frozen=True)
class Bar:
    """One figure and the bar it is held to.

    Attributes:
        name: What is compared.
        value: The figure.
        bar: The least (most, for an error, a count or a size) it should be; None when it is told for information.
        passed: Whether it is.
    """

    name: str
    value: float
    bar: float | None = None
    passed: bool | None = None


def at_least(name: str, value: float, bar: float) -> Bar:
    """Hold a figure to a lower bound."""
    return Bar(name, value, bar, value >= bar)


def at_most(name: str, value: float, bar: float) -> Bar:
    """Hold a figure to an upper bound."""
    return Bar(name, value, bar, value <= bar)


def against_stock(ours: Cost, stock: Cost, plain: Cost, peak_bytes: int) -> tuple[Bar, ...]:
    """Return how many times less we take than stock CrypTen does, and what stands by itself.

    Args:
        ours: What this package took.
        stock: What stock CrypTen took for the same model.
        plain: What plaintext torch took with as many threads.
        peak_bytes: Most memory that a party of ours held.
    """
    return (
        at_least("online time: stock CrypTen as it runs", stock.seconds / ours.online_seconds, 20.0),
        at_least("online time: stock CrypTen less its triples", stock.online_seconds / ours.online_seconds, 12.0),
        at_least("online and offline time: stock CrypTen as it runs", stock.seconds / ours.seconds, 8.0),
        at_least("bytes a party sends online", stock.bytes_sent / ours.bytes_sent, 15.0),
        at_least("rounds online", stock.rounds / ours.rounds, 5.0),
        at_most("largest error of a logit, random weights", ours.max_error, MOST_ERROR),
        at_most("most memory of a party, bytes", peak_bytes, MOST_PEAK_BYTES),
        Bar("online time, as a multiple of plaintext torch's", ours.online_seconds / plain.online_seconds),
    )


def on_mpcformer(ours: Cost, stock: Cost) -> Bar:
    """Return how many times faster MPCFormer's graph runs here."""
    name = "online time on MPCFormer's graph: stock CrypTen as it runs"
    return at_least(name, stock.seconds / ours.online_seconds, LEAST_ON_MPCFORMER)


def table(bars: Sequence[Bar]) -> Table:
    """Return figures, bars and verdicts."""
    result = Table(title="Ratios: how many times less mpccompile takes; and what is counted")
    result.add_column("figure")
    result.add_column("value", justify="right")
    result.add_column("bar", justify="right")
    result.add_column("")
    verdicts = {None: "", True: "pass", False: "FAIL"}
    for bar in bars:
        result.add_row(bar.name, f"{bar.value:.3g}", "" if bar.bar is None else f"{bar.bar:.3g}", verdicts[bar.passed])
    return result
