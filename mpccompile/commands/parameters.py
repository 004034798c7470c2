"""Command-line parameters that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Chosen = Annotated[
    list[str] | None, typer.Option(metavar="[PATTERN=]NAME", help="What replaces it: everywhere, or where a path fits.")
]
