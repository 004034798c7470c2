"""Command-line parameters that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_FORM = (
    " a name that `mpccompile passes` lists, for all of the model, or PATTERN=NAME for modules whose path fits, such as"
    " '*.layer.0.*=exact'. Give it again for more; the last that fits a module counts."
)
Gelu = Annotated[
    list[str] | None,
    typer.Option(metavar="[PATTERN=]NAME", help=f"What takes the place of GELU (quad, relu, exact):{_FORM}"),
]
Softmax = Annotated[
    list[str] | None,
    typer.Option(metavar="[PATTERN=]NAME", help="What takes the place of softmax (2quad, 2relu, exact): as --gelu."),
]
Pairs = Annotated[
    list[str] | None,
    typer.Option(
        "--option", metavar="NAME=VALUE", help="A field of mpccompile.Options: tolerance=0.01, secret=attention_mask."
    ),
]
Arrays = Annotated[
    Path | None, typer.Option("--input", metavar="NPZ", help="Inputs: arrays by name, as numpy.savez writes them.")
]
