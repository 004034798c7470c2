"""``mpccompile evaluate``: a labelled test set through every way to run a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpccompile.commands.parameters import Pairs

if TYPE_CHECKING:
    from mpccompile.data.table import Table
    from mpccompile.options import Options
    from mpccompile.private import PrivateModel

Target = Annotated[
    str, typer.Argument(metavar="FOLDER|MODULE:FACTORY", help="A package, or a function that returns a model.")
]
Data = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="NPZ|MODULE:FUNCTION",
        help="Examples: an .npz file with an array for each input of the model, a row for each example, and 'labels',"
        " the right classes; or a function that returns a Dataset, a DataLoader or dicts of them.",
        show_default=False,
    ),
]


def evaluate(
    target: Target,
    data: Data,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FACTORY",
            help="A function that returns the model that a package is of.",
        ),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            metavar="NPZ|MODULE:FUNCTION",
            help="Examples as in --data, to find ranges on.",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="How many examples to use, from the first.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Examples in one call of a factory's model.")] = None,
    pairs: Pairs = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run a labelled test set in plaintext, simulated and privately, and compare.

    A private call that is refused, because a value left its calibrated range, is counted: its examples are wrong.
    Without --calibration, a factory's model is calibrated on the factory's example inputs, or else on the first call.

    Example: mpccompile evaluate bert.mpc --data test.npz
    """
    from mpccompile.commands import files, show

    with show.stages("starting"):
        from mpccompile.data.read import read
        from mpccompile.evaluation.evaluate import evaluate as run
        from mpccompile.evaluation.table import table

        rows = files.read_data(data)
        if model is not None and not is_package(target):
            raise typer.BadParameter("it is for a package; a factory's model is its own", param_hint="--model")
        torch_model = None if model is None else files.load_model(model)[0]
        chosen = None if not pairs else files.options_of(pairs, {})
        seen = None if calibration is None else read(files.read_data(calibration))
    with progress_bar("evaluating") as step, _opened(target, seen, chosen, batch_size) as private:
        result = run(private, rows, model=torch_model, batch_size=batch_size, limit=limit, progress=step)
    if json:
        show.as_json(result.to_json())
    else:
        show.print_table(table(result))


def is_package(target: str) -> bool:
    """Say whether a target is a folder, and not a factory."""
    return ":" not in target or Path(target).exists()


@contextmanager
def _opened(target: str, seen: Table | None, options: Options | None, batch_size: int | None) -> Iterator[PrivateModel]:
    """Open a package, or compile what a factory makes; stop the parties in the end."""
    from mpccompile.commands import files
    from mpccompile.errors import OptionError

    if is_package(target):
        given = {
            "--calibration": seen is not None,
            "--batch-size": batch_size is not None,
            "--option": options is not None,
        }
        unfit = [name for name, there in given.items() if there]
        if unfit:
            raise OptionError(
                f"{' and '.join(unfit)} cannot change a package, which has been compiled",
                where=target,
                hint="Give the factory in place of the package, or compile it again.",
            )
        if not Path(target).exists():
            hint = "Give the folder of a package, or a factory as package.module:function."
            raise OptionError(f"there is no folder {target}", hint=hint)
        _package, private = files.open_package(Path(target))
    else:
        private = _compiled(target, seen, options, batch_size)
    with private:
        yield private


def _compiled(factory: str, seen: Table | None, options: Options | None, batch_size: int | None) -> PrivateModel:
    import mpccompile
    from mpccompile.commands import files
    from mpccompile.evaluation.evaluate import BATCH_SIZE

    model, inputs = files.load_model(factory)
    examples: list[Any] = [] if inputs is None else [inputs]
    if seen is not None:
        size = batch_size or (BATCH_SIZE if inputs is None else len(next(iter(inputs.values()))))
        examples = [batch for batch, _count in seen.batches(size)]
    return mpccompile.compile(model, example_inputs=examples or None, options=options)


@contextmanager
def progress_bar(first: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar on a terminal's error output; yield what moves it: what is being done, how much is, of how much."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(first, total=None)

        def step(what: str, done: int, total: int) -> None:
            progress.update(task, description=what or first, completed=done, total=total)

        yield step
