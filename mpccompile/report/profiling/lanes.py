"""The timeline of a call as a chart: a lane for each process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpccompile.report.profiling.trace import recorded
from mpccompile.runtime.timeline import COMPUTE, EXCHANGE, PREPARE, WIRE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mpccompile.report.profiling.breakdown import Breakdown
    from mpccompile.runtime.timeline import Span

PALETTE = ("#3f7fbf", "#e08a2e", "#4f9d69", "#c7503f", "#8a7fc0", "#b5892c", "#3a9ea5", "#c56fa1")
OTHERS, LINE, IDLE = "#7b828c", "#c3cbd6", "#9aa3b0"
HEIGHT = 2.6
PARTIES = {"party 0": "0", "party 1": "1"}
ROLES = {"dealer": "dealer", **PARTIES}


def colours_of(measured: Breakdown) -> dict[str, str]:
    """Return a colour for each kind of operation: the slowest have one of their own."""
    names = [part.name for part in measured.operations]
    return {name: PALETTE[place] if place < len(PALETTE) else OTHERS for place, name in enumerate(names)}


def lanes(measured: Breakdown) -> Figure:
    """Draw the making of the randomness, and the call."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    spans = recorded(measured)
    figure = Figure(figsize=(9.0, HEIGHT), layout="constrained")
    made = [span for span in spans if span.kind == PREPARE]
    left, right = figure.subplots(1, 2, width_ratios=(1, 2.6))
    _offline(left, made)
    _online(right, measured, [span for span in spans if span.kind != PREPARE])
    colours = colours_of(measured)
    handles = [Patch(color=colour, label=name) for name, colour in colours.items() if colour != OTHERS]
    if OTHERS in colours.values():
        handles.append(Patch(color=OTHERS, label="others"))
    handles.append(Patch(color=LINE, label="messages"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)))
    return figure


def _offline(axes: Axes, spans: list[Span]) -> None:
    start = min((span.begin for span in spans), default=0.0)
    for place, role in enumerate(ROLES.values()):
        mine = [(span.begin - start, span.seconds) for span in spans if span.role == role]
        axes.broken_barh(mine, (place - 0.3, 0.6), color=IDLE, linewidth=0)
    _framed(axes, list(ROLES), "offline: randomness")


def _online(axes: Axes, measured: Breakdown, spans: list[Span]) -> None:
    start = min((span.begin for span in spans), default=0.0)
    ops, colours = {each.line: each.op for each in measured.statements}, colours_of(measured)
    for place, role in enumerate(PARTIES.values()):
        # Messages come last: each lies in what its statement does, and is to be seen.
        for kinds in ((COMPUTE, EXCHANGE), (WIRE,)):
            mine = [span for span in spans if span.role == role and span.kind in kinds]
            axes.broken_barh(
                [(span.begin - start, span.seconds) for span in mine],
                (place - 0.36, 0.72),
                facecolors=[LINE if span.kind == WIRE else colours[ops[span.line]] for span in mine],
                linewidth=0,
            )
    _framed(axes, list(PARTIES), "online: the call")


def _framed(axes: Axes, names: list[str], title: str) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.locator_params(axis="x", nbins=6)
    axes.set(title=title, xlabel="seconds")
