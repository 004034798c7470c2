"""A picture of a package as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

STYLE = "page.css"
LIBRARY = "vendor/dagre.min.js"
"""dagre lays the graph out: https://github.com/dagrejs/dagre, under the MIT licence that stands at its top."""
SCRIPTS = (
    "data.js",
    "stages.js",
    "broken.js",
    "outline.js",
    "arrange.js",
    "layout.js",
    "draw.js",
    "graph.js",
    "view.js",
    "tree.js",
    "source.js",
    "choose.js",
    "details.js",
    "passes.js",
    "search.js",
    "page.js",
)


def page(picture: Mapping[str, Any]) -> str:
    """Return the HTML page of what :func:`mpccompile.report.picture.picture` returned; the same for the same."""
    loader = PackageLoader("mpccompile.report", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)

    def text(name: str) -> Markup:
        return Markup(loader.get_source(environment, name)[0])

    # Only the package's own files and escaped JSON go in as they are.
    return environment.get_template("page.html").render(
        name=picture["name"],
        style=text(STYLE),
        library=text(LIBRARY),
        script=Markup("\n").join(text(name) for name in SCRIPTS),
        data=Markup(embedded(picture)),
    )


def embedded(value: object) -> str:
    """Return JSON that may stand in a script element: no text in it can end the element or open a comment."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
