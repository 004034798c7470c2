"""``mpccompile passes``: what every compilation runs, what users may choose, and what ONNX files may hold."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from mpccompile.commands.parameters import AsJson


def passes(
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what each replaces, and by what.")] = False,
    onnx_ops: Annotated[bool, typer.Option("--onnx-ops", help="List the ONNX operators that can be imported.")] = False,
    json: AsJson = False,
) -> None:
    """List the passes that every compilation runs, in order, and the approximations that users may choose."""
    from mpccompile.commands import show

    if onnx_ops:
        _list_operators(json)
        return
    with show.stages("starting"):
        from mpccompile.approximations import APPROXIMATIONS
        from mpccompile.compiler import EXACT_PASSES, RECOGNISERS

        always = (*RECOGNISERS, *EXACT_PASSES)
    if json:
        show.passes_json(always, APPROXIMATIONS)
    else:
        show.passes_text(always, APPROXIMATIONS, verbose=verbose)


def _list_operators(json: bool) -> None:
    from mpccompile.commands import show

    with show.stages("starting"):
        from mpccompile.capture.from_onnx.listing import listed

        rows = listed()
    if json:
        show.as_json([asdict(row) for row in rows])
    else:
        show.operators_text(rows)
