"""MERGE's tables printed, and what is left of its gains on a baseline that has what theirs lacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.table import Table

from mpccompile.bench.merge_variants import EXACT, MERGE
from mpccompile.bench.networks import LAN, WAN, seconds
from mpccompile.bench.race import OURS, STOCK

if TYPE_CHECKING:
    from rich.console import Console

    from mpccompile.bench.parts import Pair, Part
    from mpccompile.report.compare import Cost

PUBLISHED: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "gpt2/128": {
        "Quad + 2ReLU": (1.33, 0.98),
        "Quad + 2Quad": (1.36, 0.98),
        "only ER": (1.59, 0.52),
        "only MM": (1.78, 0.87),
        MERGE: (7.75, 0.38),
    },
    "gpt2/512": {MERGE: (26.5, 0.20)},
}
"""How many times as fast as the exact model, and which share of its bytes; that of 512 is of another model."""


def print_part(part: Part, console: Console) -> None:
    """Print what was measured, the ratios that follow, and what they say."""
    if part.pairs:
        console.print(table(part))
    for name, reason in part.failed.items():
        console.print(f"{part.key}: {name} FAILED: {reason}", markup=False)
    for sentence in conclusion(part):
        console.print(sentence, markup=False, highlight=False)


def table(part: Part) -> Table:
    """Return what each engine takes for the text, and how much less that is than for the exact model."""
    result = Table(title=part.title)
    result.add_column("model")
    result.add_column("engine")
    columns = ("online", "offline", "a party sends", "rounds", "times as fast", "LAN", "WAN", "bytes", "published")
    for column in columns:
        result.add_column(column, justify="right")
    for name, pair in part.pairs.items():
        for engine in (OURS, STOCK):
            cost = of(pair, engine)
            spent = (f"{cost.online_seconds:.1f} s", f"{cost.offline_seconds:.1f} s")
            shown = (f"{cost.bytes_sent / 1e9:.2f} GB", f"{cost.rounds:.0f}")
            result.add_row(name, engine, *spent, *shown, *_ratios(part, name, engine))
    ran = dict.fromkeys(pair.ran for pair in part.pairs.values())
    result.caption = (
        "Times as fast as the exact model on the same engine, online and offline, on this machine and modelled; bytes"
        " as a share of its bytes. Published: MERGE's own, of both. A few steps were run, and scaled:"
        f" {'; '.join(ran)}. Loading the weights, once for all texts, is left out. Stock CrypTen makes triples at"
        " rank 0 during the call."
    )
    return result


def conclusion(part: Part) -> tuple[str, ...]:
    """Return in sentences what MERGE gains on each engine, and how it compares with the exact model here."""
    exact, merge = part.pairs.get(EXACT), part.pairs.get(MERGE)
    if exact is None or merge is None:
        return ()
    theirs, ours = (exact.stock.seconds / merge.stock.seconds, exact.ours.seconds / merge.ours.seconds)
    ahead, fewer = merge.stock.seconds / exact.ours.seconds, merge.stock.bytes_sent / exact.ours.bytes_sent
    published = PUBLISHED.get(part.key, {}).get(MERGE)
    claimed = "" if published is None else f" (published: {published[0]:.3g})"
    gained = f"MERGE makes stock CrypTen {theirs:.2f} times as fast{claimed}, and this engine {ours:.2f} times."
    share = f"{1 / ahead:.2f} of the time and {1 / fewer:.4f} of the bytes of MERGE in stock CrypTen"
    return f"{part.title}. {gained}", f"The exact model here takes {share}."


def of(pair: Pair, engine: str) -> Cost:
    """Return what one engine took."""
    return pair.ours if engine == OURS else pair.stock


def _ratios(part: Part, name: str, engine: str) -> tuple[str, ...]:
    base = part.pairs.get(EXACT)
    if base is None or name == EXACT:
        return ()
    cost, exact = of(part.pairs[name], engine), of(base, engine)
    ratios = (exact.seconds / cost.seconds, *(seconds(net, exact) / seconds(net, cost) for net in (LAN, WAN)))
    published = PUBLISHED.get(part.key, {}).get(name) if engine == STOCK else None
    claimed = "" if published is None else f"{published[0]:.3g}, {published[1]:.0%}"
    return (*(f"{ratio:.2f}" for ratio in ratios), f"{cost.bytes_sent / exact.bytes_sent:.0%}", claimed)
