"""``mpccompile tune``: choose approximations within a budget of accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mpccompile.commands.evaluate import Data, progress_bar

if TYPE_CHECKING:
    from mpccompile.tuning.tune import Tuned


def tune(  # noqa: PLR0913, PLR0917 - a flag each
    factory: Annotated[
        str,
        typer.Argument(metavar="PACKAGE.MODULE:FACTORY", help="A function that returns a model.", show_default=False),
    ],
    data: Data,
    budget: Annotated[float, typer.Option(min=0, max=1, help="Most accuracy that may be lost: 0.01 for 1 %.")],
    network: Annotated[str, typer.Option(help="What joins the parties: lan, wan or loopback.")] = "lan",
    candidate: Annotated[
        list[str] | None,
        typer.Option(metavar="FUNCTION=NAME", help="What to try, once for each; by default all."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="How many examples to use, from the first.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Examples in one call.")] = 8,
    simulate: Annotated[
        bool, typer.Option(help="Confirm what is taken in simulated fixed point, as private runs compute; slower.")
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find which functions to approximate: the seconds saved on a network against the accuracy lost on labelled data.

    Nothing is run privately. Choices are ranked in float32; the exact model, and what is to be taken, are then
    simulated in fixed point on all of the data. The choice is fitted to this data, so judge it by other data:
    mpccompile evaluate.

    Example: mpccompile tune package.module:factory --data validation.npz --budget 0.01 --network wan
    """
    from mpccompile.commands import files, show

    with show.stages("starting"):
        from mpccompile.data.read import read
        from mpccompile.tuning.tune import tune as run

        model, _inputs = files.load_model(factory)
        rows = read(files.read_data(data)).limited(limit)
        chosen = _candidates(candidate)
    with progress_bar("tuning") as step:
        tuned = run(
            model,
            rows,
            budget=budget,
            network=network,
            candidates=chosen,
            batch_size=batch_size,
            simulate=simulate,
            progress=step,
        )
    if json:
        show.as_json(tuned.to_json())
        return
    show.print_table(tuned.table())
    typer.echo(_flags(tuned))


def _candidates(pairs: list[str] | None) -> dict[str, list[str]] | None:
    from mpccompile.errors import OptionError

    if not pairs:
        return None
    chosen: dict[str, list[str]] = {}
    for pair in pairs:
        function, separator, name = pair.partition("=")
        if not separator:
            raise OptionError(f"{pair!r} is no approximation", hint="Write it as function=name.")
        chosen.setdefault(function, []).append(name)
    return chosen


def _flags(tuned: Tuned) -> str:
    """Return what to give ``mpccompile compile`` to get the result."""
    flags = [
        f"--{function} '{pattern}={name}'"
        for function, choices in tuned.options.items()
        for pattern, name in choices.items()
    ]
    return f"mpccompile compile ... {' '.join(flags)}" if flags else "Nothing is worth approximating."
