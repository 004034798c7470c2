"""MPCFormer's tables printed, and what follows from their numbers in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from mpccompile.bench.networks import ASSUMED, HERE, NETWORKS, online_seconds, seconds
from mpccompile.bench.race import OURS, STOCK

if TYPE_CHECKING:
    from rich.console import Console

    from mpccompile.bench.parts import Pair, Part
    from mpccompile.ir.network import Network
    from mpccompile.report.compare import Cost

EXACT = "exact"
REPLACED: Mapping[str, str] = {
    "Quad": "GELU",
    "2ReLU": "softmax",
    "2Quad": "softmax",
    "Quad + 2ReLU": EXACT,
    "Quad + 2Quad": EXACT,
}
"""What each approximation is compared with."""
PUBLISHED: Mapping[str, Mapping[str, float]] = {
    "functions/bert-base-512": {"Quad": 11 / 0.5, "2ReLU": 40 / 14.7, "2Quad": 40 / 3.2},
    "models/bert-base-128": {"Quad + 2ReLU": 1.93, "Quad + 2Quad": 2.2},
    "models/bert-base-512": {"Quad + 2ReLU": 2.61, "Quad + 2Quad": 5.26},
}
"""Speed-ups that the paper reports, of CrypTen on two GPUs."""
LITTLE = 0.2
"""Time saved, as a share, below which an approximation is not worth what it costs in accuracy and training."""
HOW_STOCK_RAN = (
    "Stock CrypTen as it runs by default: rank 0 makes the triples during the call, its offline, which sends nothing"
    " and hides nothing from rank 0; GELU by tanh."
)
RANGES = {
    "functions": "Arguments are normal, within 3 of 0; our softmax costs less on a narrower range, more on a wider.",
    "models": "Random weights, those of queries doubled: scores lie within 3 to 4 of 0.",
}
"""How far arguments reach, for each table: our exact functions cost what their ranges need."""


def print_part(part: Part, console: Console) -> None:
    """Print what was measured, and the ratios that follow."""
    if part.pairs:
        console.print(cost_table(part))
        console.print(speed_table(part))
        console.print(against_table(part))
    for name, reason in part.failed.items():
        console.print(f"{part.key}: {name} FAILED: {reason}", markup=False)


def cost_table(part: Part) -> Table:
    """Return what each engine took."""
    table = _table(part.title, ("online", "offline", "a party sends", "rounds", "largest error"))
    for name, engine, pair in _lines(part):
        cost = _cost(pair, engine)
        seconds = (f"{cost.online_seconds:.3f} s", f"{cost.offline_seconds:.3f} s")
        shown = (f"{cost.bytes_sent / 1e6:.1f} MB", f"{cost.rounds:.0f}", f"{cost.max_error:.2g}")
        table.add_row(name, engine, *seconds, *shown)
    peak = max(max(pair.peak_bytes) for pair in part.pairs.values()) / 1e9
    ran = dict.fromkeys(pair.ran for pair in part.pairs.values() if pair.ran)
    scaled = f" Scaled: {'; '.join(ran)}." if ran else ""
    table.caption = f"{HOW_STOCK_RAN} {RANGES[part.table]} A party of ours held {peak:.1f} GB at most.{scaled}"
    return table


def speed_table(part: Part) -> Table:
    """Return how many times as fast as with the exact function each engine is, here and over networks."""
    table = _table(
        "Times as fast as with the exact functions, the same engine",
        [f"{network.name}, {phase}" for network in NETWORKS for phase in ("online", "all")] + ["published"],
    )
    for name, engine, pair in _lines(part):
        base = part.pairs.get(REPLACED.get(name, ""))
        if base is not None:
            ratios = [ratio for network in NETWORKS for ratio in gains(pair, base, engine, network)]
            published = PUBLISHED.get(part.key, {}).get(name) if engine == STOCK else None
            shown = "" if published is None else f"{published:.3g}"
            table.add_row(name, engine, *(f"{ratio:.2f}" for ratio in ratios), shown)
    table.caption = f"all: with what is offline. {ASSUMED} Published: MPCFormer's, of CrypTen on two GPUs."
    return table


def against_table(part: Part) -> Table:
    """Return how many times as fast as stock CrypTen we are on the same graph."""
    columns = [f"{network.name}, {phase}" for network in NETWORKS for phase in ("online", "all")]
    table = Table(title="mpccompile against stock CrypTen on the same graph: times as fast")
    table.add_column(part.table)
    for column in columns:
        table.add_column(column, justify="right")
    for name, pair in part.pairs.items():
        theirs = [seconds(network, pair.stock) for network in NETWORKS]
        ours = [(online_seconds(network, pair.ours), seconds(network, pair.ours)) for network in NETWORKS]
        ratios = [stock / mine for stock, both in zip(theirs, ours, strict=True) for mine in both]
        table.add_row(name, *(f"{ratio:.1f}" for ratio in ratios))
    table.caption = "Stock's time is with its triples in both: it makes them during the call."
    return table


def gains(pair: Pair, base: Pair, engine: str, network: Network) -> tuple[float, float]:
    """Return how many times as fast as ``base`` an engine computes ``pair``: online, and with what is offline."""
    cost, exact = _cost(pair, engine), _cost(base, engine)
    online = online_seconds(network, exact) / online_seconds(network, cost)
    return online, seconds(network, exact) / seconds(network, cost)


def print_conclusion(parts: Iterable[Part], console: Console) -> None:
    """Print what follows for each model."""
    for part in parts:
        for sentence in conclusion(part):
            console.print(sentence, markup=False, highlight=False)


def conclusion(part: Part) -> tuple[str, ...]:
    """Return in sentences whether the approximations of a part pay; none without a measured exact model."""
    exact = part.pairs.get(EXACT)
    replaced = [pair for pair in part.pairs.values() if pair is not exact]
    if exact is None or not replaced:
        return ()
    told = [f"{part.title}.", *(_told(pair, exact) for pair in replaced), _verdict(replaced, exact)]
    fastest = min(replaced, key=lambda pair: pair.stock.seconds)
    ours, theirs = exact.ours.online_seconds, fastest.stock.seconds
    than = "less" if ours < theirs else "more"
    told.append(
        f"This engine takes {ours:.2f} s online with exact functions ({exact.ours.seconds:.2f} s with what is offline),"
        f" {than} than stock CrypTen with {fastest.name} ({theirs:.2f} s)."
    )
    return tuple(told)


def _told(pair: Pair, exact: Pair) -> str:
    here = gains(pair, exact, STOCK, HERE)[1]
    places = [
        f"{network.name} {online:.2f} online, {whole:.2f} in total"
        for network in NETWORKS
        for online, whole in [gains(pair, exact, OURS, network)]
    ]
    return (
        f"{pair.name} makes this engine so many times as fast as exact functions do: {'; '.join(places)}."
        f" It makes stock CrypTen {here:.2f} times as fast on this machine."
    )


def _verdict(replaced: Sequence[Pair], exact: Pair) -> str:
    """Say where the best approximation saves little, online and in total, and where it saves more."""
    told = []
    for network in NETWORKS:
        best, pair = max(((max(gains(pair, exact, OURS, network)), pair) for pair in replaced), key=lambda row: row[0])
        saved, where = 1 - 1 / best, network.name[0].upper() + network.name[1:]
        if saved <= 0:
            told.append(f"{where}: no approximation is faster, so exact functions cost nothing")
        elif saved < LITTLE:
            told.append(f"{where}: {pair.name} saves {saved:.0%} at best, too little to pay for with accuracy")
        else:
            told.append(f"{where}: {pair.name} saves {saved:.0%}, to be weighed against the accuracy it costs")
    return f"{'. '.join(told)}."


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title)
    table.add_column("functions")
    table.add_column("engine")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _lines(part: Part) -> list[tuple[str, str, Pair]]:
    return [(name, engine, pair) for name, pair in part.pairs.items() for engine in (OURS, STOCK)]


def _cost(pair: Pair, engine: str) -> Cost:
    return pair.ours if engine == OURS else pair.stock
