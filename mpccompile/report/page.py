"""A picture of a package as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = ("page.css", "tree.js", "flow.js", "source.js", "passes.js", "page.js")


def page(picture: Mapping[str, Any]) -> str:
    """Return the HTML page of what :func:`mpccompile.report.picture.picture` returned; the same for the same."""
    loader = PackageLoader("mpccompile.report", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    # Only the package's own files and escaped JSON go in as they are.
    parts = {name: Markup(loader.get_source(environment, name)[0]) for name in TEMPLATES}
    style = parts.pop("page.css")
    script = Markup("\n").join(parts.values())
    data = Markup(embedded(picture))
    return environment.get_template("page.html").render(name=picture["name"], style=style, script=script, data=data)


def embedded(value: object) -> str:
    """Return JSON that may stand in a script element: no text in it can end the element or open a comment."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
