"""A profile as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mpccompile.report.page import embedded
from mpccompile.report.profiling.breakdown import NETWORKS
from mpccompile.report.profiling.charts import INK, RULE, network_title, way_title
from mpccompile.report.profiling.lanes import IDLE, colours_of
from mpccompile.runtime.timeline import CALL

if TYPE_CHECKING:
    from mpccompile.report.profiling.breakdown import Breakdown

SECTIONS = {
    "layers": "By layer",
    "operations": "By kind of operation",
    "predicted": "Predicted and measured",
    "against": "Against other ways to run the model",
}
CAPTIONS = {
    "layers": "Seconds of party 0. Messages here are those on this machine, and wait for the other party too; bytes and"
    " rounds are what a network would add.",
    "operations": "The same, with the statements of a kind together.",
    "predicted": "The compiler knows bytes and rounds before anything runs; seconds it estimates from what has to be"
    " computed.",
    "against": "All on this machine, one after the other in turn; a network's seconds are modelled from bytes and"
    " rounds. Stock CrypTen makes its triples as it goes, at party 0.",
}
TOGETHER = (
    "Seconds of party 0, messages on this machine included, which nothing tells apart; bytes and rounds are what a"
    " network would add."
)
"""The caption of the layers where no timeline was recorded."""
# Written by matplotlib; nothing refers to them, and five charts in one page would have them five times.
_NUMBERED = re.compile(r' id="[a-z]+[0-9]*d?_[0-9]+"')


def page(measured: Breakdown, charts: Mapping[str, str]) -> str:
    """Return the HTML page of a measured call; the same for the same.

    Args:
        measured: The call.
        charts: SVG by name.
    """
    loader = PackageLoader("mpccompile.report.profiling", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    # Only the package's own files, charts made here and escaped JSON go in as they are.
    style = Markup(loader.get_source(environment, "profile.css")[0])
    script = Markup(loader.get_source(environment, "timeline.js")[0])
    captions = CAPTIONS if measured.total.wire else {**CAPTIONS, "layers": TOGETHER}
    sections = [
        {"id": name, "title": title, "caption": captions[name], "chart": Markup(inlined(charts[name]))}
        for name, title in SECTIONS.items()
        if name in charts
    ]
    return environment.get_template("profile.html").render(
        measured=measured,
        networks=[(network_title(network), network) for network in NETWORKS],
        sections=sections,
        way=way_title,
        style=style,
        script=script,
        data=Markup(embedded(timeline(measured))),
    )


def inlined(svg: str) -> str:
    """Return a chart for a page: without what only a file of its own needs, in the page's colours."""
    body = _NUMBERED.sub("", svg[svg.index("<svg") :])
    body = body.replace(INK, "var(--ink)").replace(RULE, "var(--rule)")
    return body.replace("<svg ", '<svg role="img" ', 1)


def timeline(measured: Breakdown) -> dict[str, Any]:
    """Return what the page draws the timeline of: microseconds from the first thing recorded."""
    start = min((span.begin for span in measured.spans), default=0.0)
    numbers = {each.line: index for index, each in enumerate(measured.statements)}
    roles = ["dealer", "0", "1"]
    return {
        "lanes": ["dealer", "party 0", "party 1"],
        "idle": IDLE,
        "statements": [[each.line, each.op, each.module_path] for each in measured.statements],
        "colours": colours_of(measured),
        "spans": [
            [
                roles.index(span.role),
                span.kind,
                numbers.get(span.line, -1),
                round(1e6 * (span.begin - start), 1),
                round(1e6 * span.seconds, 1),
                span.sent,
            ]
            for span in measured.spans
            if span.kind != CALL
        ],
    }
