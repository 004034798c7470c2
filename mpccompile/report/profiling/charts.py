"""Charts of a measured call, for a page and for papers; each is drawn once and reads at 100 % of its size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mpccompile.report.profiling.breakdown import NETWORKS, sum_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mpccompile.ir.network import Network
    from mpccompile.report.compare import Cost
    from mpccompile.report.profiling.breakdown import Breakdown, Part

INK, RULE = "#1d2128", "#d5d9df"
"""Text and lines: a page puts its own colours in the place of these two."""
COLOURS = {
    "computing": "#3f7fbf",
    "messages here": "#8fb8de",
    "computing and messages here": "#3f7fbf",
    "bytes": "#e08a2e",
    "rounds": "#c7503f",
    "randomness": "#8a7fc0",
    "dealer's bytes": "#b9b1de",
}
"""One a kind of cost, alike in brightness to read on white and on black."""
STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "mpccompile",
}
NETWORK_COLOURS = ("#3f7fbf", "#4f9d69", "#8a7fc0")
WIDTH, ROW, HEAD = 9.0, 0.26, 1.25
"""Inches: of every chart, of a bar and its gap, and of what stands above and below them."""
MOST_BARS = 40
BAR = 0.68
Series = dict[str, list[float]]


def by_layer(measured: Breakdown) -> Figure:
    """Draw what each layer takes here, on a LAN and on a WAN."""
    return _stacked(measured.layers)


def by_operation(measured: Breakdown) -> Figure:
    """Draw what each kind of operation takes here, on a LAN and on a WAN."""
    return _stacked(measured.operations)


def _stacked(parts: Sequence[Part]) -> Figure:
    shown = _few(parts)
    names = [part.name for part in shown]
    here = {
        "computing": [part.computing for part in shown],
        "messages here": [part.wire for part in shown],
    }
    if not any(here["messages here"]):
        here = {"computing and messages here": here["computing"]}
    panels = {"this machine": here}
    for network in NETWORKS:
        rounds = [network.waiting(part.rounds) for part in shown]
        sending = [network.sending(max(part.bytes_sent)) for part in shown]
        panels[network_title(network)] = {**here, "bytes": sending, "rounds": rounds}
    figure = _figure(HEAD + ROW * len(shown))
    first: Axes | None = None
    for place, (title, series) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), place + 1, sharey=first)
        _bars(axes, names, series)
        axes.set(title=title, xlabel="seconds")
        if first is None:
            first = axes
            axes.invert_yaxis()
        else:
            axes.tick_params(labelleft=False)
    _legend(figure, list(panels.values())[-1])
    return figure


def _few(parts: Sequence[Part]) -> list[Part]:
    """Return as many parts as can be read, and one for all others."""
    if len(parts) <= MOST_BARS:
        return list(parts)
    kept = sorted(parts, key=lambda part: -part.seconds)[: MOST_BARS - 1]
    rest = [part for part in parts if part not in kept]
    return [*(part for part in parts if part in kept), sum_of(f"({len(rest)} others)", rest)]


def _bars(axes: Axes, names: Sequence[str], series: Series) -> None:
    """Draw rows of bars, one series after the other."""
    left = [0.0] * len(names)
    for kind, values in series.items():
        axes.barh(range(len(names)), values, BAR, left=left, color=COLOURS[kind], linewidth=0)
        left = [one + other for one, other in zip(left, values, strict=True)]
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_xlim(0, max([*left, 1e-9]) * 1.05)
    axes.locator_params(axis="x", nbins=4)


def network_title(network: Network) -> str:
    """Return a network with its rate and its time there and back."""
    rate = 8e-6 * network.bytes_per_second
    speed = f"{rate / 1000:g} Gbit/s" if rate >= 1000 else f"{rate:g} Mbit/s"  # noqa: PLR2004 - mega to giga
    return f"{network.name.upper()}: {speed}, {1000 * network.round_trip_seconds:g} ms"


def _figure(height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), layout="constrained")


def _legend(figure: Figure, kinds: Sequence[str] | Series) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=COLOURS[kind], label=kind) for kind in kinds]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def predicted(measured: Breakdown) -> Figure:
    """Draw the compiler's prediction beside what was measured: bytes and rounds by layer, and seconds in all."""
    shown = _few(measured.layers)
    figure = _figure(HEAD + 1.2 * ROW * len(shown) + (1.5 if measured.expected is not None else 0.0))
    rows = 1 if measured.expected is None else 2
    grid = figure.add_gridspec(rows, 2, height_ratios=[1.2 * ROW * len(shown), 1.0][:rows])
    panels: dict[str, tuple[str, Callable[[Part], tuple[float, float]]]] = {
        "what a party sends": ("MB", lambda part: (max(part.predicted_bytes) / 1e6, max(part.bytes_sent) / 1e6)),
        "rounds": ("rounds", lambda part: (float(part.predicted_rounds), float(part.rounds))),
    }
    for column, (title, (unit, pair)) in enumerate(panels.items()):
        axes = figure.add_subplot(grid[0, column])
        _pairs(axes, [part.name for part in shown], [pair(part) for part in shown])
        axes.set(title=title, xlabel=unit)
        axes.tick_params(labelleft=column == 0)
        if column == 0:
            # Above the bars, which may be long in any row.
            axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderaxespad=0.2)
    if measured.expected is not None:
        _seconds(figure.add_subplot(grid[1, :]), measured)
    return figure


def _pairs(axes: Axes, names: Sequence[str], pairs: Sequence[tuple[float, float]]) -> None:
    rows = range(len(names))
    axes.barh(rows, [pair[1] for pair in pairs], BAR, color=COLOURS["messages here"], linewidth=0, label="measured")
    ends = [row - 0.45 for row in rows], [row + 0.45 for row in rows]
    axes.vlines([pair[0] for pair in pairs], *ends, color=INK, label="predicted")
    axes.set_yticks(rows, names)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.invert_yaxis()
    axes.set_xlim(0, max([*(max(pair) for pair in pairs), 1e-9]) * 1.05)


def _seconds(axes: Axes, measured: Breakdown) -> None:
    """Draw the predicted total and the measured one, in the parts that each has."""
    foreseen, total = measured.expected, measured.total
    if foreseen is None:
        return
    rows: list[list[tuple[str, str, float]]] = [
        [
            ("computing", "computing", foreseen.computing),
            ("messages", "messages here", foreseen.waiting + foreseen.sending),
            ("making randomness", "randomness", foreseen.preparing + foreseen.dealing),
        ],
        [
            ("computing", "computing", total.computing),
            ("messages", "messages here", total.wire),
            ("making randomness", "randomness", measured.offline_seconds),
        ],
    ]
    for place, row in enumerate(rows):
        left = 0.0
        for text, kind, value in row:
            label = text if place else None
            axes.barh(place, value, BAR, left=left, color=COLOURS[kind], linewidth=0, label=label)
            left += value
        axes.annotate(f"{left:.3g} s", (left, place), (4, 0), textcoords="offset points", va="center")
    axes.set_yticks([0, 1], ["predicted", "measured"])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set(title="online and offline together, on this machine", xlabel="seconds")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.5), ncols=3)


def against(measured: Breakdown) -> Figure:
    """Draw what the other ways to run the model take, on a scale of powers of ten: they are far apart."""
    figure = _figure(HEAD + 3 * ROW * len(measured.costs))
    axes = figure.add_subplot()
    ways = {"this machine": (0.0, 0.0)}
    ways |= {network_title(each): (each.waiting(1), each.sending(1)) for each in NETWORKS}
    for place, (title, (wait, send)) in enumerate(ways.items()):
        # Without messages no network matters: plaintext has one bar.
        shown = [(row, cost) for row, cost in enumerate(measured.costs) if place == 0 or cost.rounds]
        rows = [row + (place - 1 if cost.rounds else 0) * 0.26 for row, cost in shown]
        values = [_whole(cost, wait, send) for _row, cost in shown]
        axes.barh(rows, values, 0.24, color=NETWORK_COLOURS[place], linewidth=0, label=title)
        for row, value in zip(rows, values, strict=True):
            axes.annotate(f"{value:.3g} s", (value, row), (3, 0), textcoords="offset points", va="center", fontsize=7.5)
    axes.set_yticks(range(len(measured.costs)), [way_title(cost) for cost in measured.costs])
    axes.tick_params(axis="y", length=0)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.margins(x=0.15)
    axes.grid(axis="x")
    axes.invert_yaxis()
    axes.set(xlabel="seconds of one call, online and offline")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _whole(cost: Cost, wait: float, send: float) -> float:
    return cost.seconds + cost.rounds * wait + (cost.bytes_sent + cost.offline_bytes) * send


def way_title(cost: Cost) -> str:
    """Return the name of a way to run a model."""
    return {"crypten": "stock CrypTen", "plaintext": "plaintext torch", "cuda": "this program, CUDA"}.get(
        cost.name, cost.name
    )


def drawn(measured: Breakdown) -> dict[str, Any]:
    """Return every chart that there is something for, by name."""
    from matplotlib import rc_context

    from mpccompile.report.profiling.lanes import lanes

    with rc_context(STYLE):
        figures = {"layers": by_layer(measured), "operations": by_operation(measured)}
        if measured.spans:
            figures = {"timeline": lanes(measured), **figures}
        if measured.agrees is not None:
            figures["predicted"] = predicted(measured)
        if measured.costs:
            figures["against"] = against(measured)
    return figures
