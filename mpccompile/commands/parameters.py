"""Command-line parameters that several commands have."""

from __future__ import annotations

from enum import Enum
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


class Selections(Enum):
    """Who sees the tokens of a text."""

    CLIENT = "client"
    SECRET = "secret"


class Targets(Enum):
    """What code a compilation emits."""

    MPCCOMPILE = "mpccompile"
    CRYPTEN = "crypten"


Target = Annotated[Targets | None, typer.Option(help="What code to emit.")]
Tolerance = Annotated[float | None, typer.Option(help="Largest error that approximations may add.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Where the package goes.", show_default=False)]
Force = Annotated[bool, typer.Option("--force", help="Write over what is in the folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="A compiled package.", show_default=False)]
Device = Annotated[
    str | None, typer.Option("--device", help="Where the parties compute, cpu or cuda.", show_default=False)
]
Repeat = Annotated[int, typer.Option("--repeat", min=1, help="How often to run.")]
Shapes = Annotated[
    list[str] | None,
    typer.Option(
        "--input-shape",
        metavar="NAME=SIZE,SIZE",
        help="The shape of an input, or NAME=SIZE for a dim that has a name in the file. Needed for open dims; give it"
        " again for more.",
    ),
]
