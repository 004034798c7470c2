"""The ``mpccompile distill`` command."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpccompile.commands.parameters import AsJson, Gelu, Pairs, Softmax

if TYPE_CHECKING:
    from mpccompile.distill.config import DistillationConfig
    from mpccompile.options import Options

_METAVAR = "NPZ|PACKAGE.MODULE:FUNCTION"
Rows = Annotated[
    str | None,
    typer.Option(
        metavar=_METAVAR,
        help="What to train on: an .npz file with an array for each input of the model, a row for each example, and"
        " 'labels' if there are any; or a function that returns a Dataset, a DataLoader or dicts of them.",
        show_default=False,
    ),
]
Validation = Annotated[
    str | None,
    typer.Option(
        metavar=_METAVAR,
        help="Other rows, in the same form: they judge the student after each epoch, and its best weights are kept."
        " Without them the last are.",
        show_default=False,
    ),
]
Test = Annotated[
    str | None,
    typer.Option(
        metavar=_METAVAR,
        help="For --ablations: rows with labels, in the same form, that the students are compared on.",
        show_default=False,
    ),
]


def distill(  # noqa: PLR0913, PLR0917 - each is an option of the command
    factory: Annotated[
        str,
        typer.Argument(
            metavar="PACKAGE.MODULE:FACTORY",
            help="A function that returns the trained model and a dict of example inputs, as large as a batch.",
            show_default=False,
        ),
    ],
    data: Rows = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where checkpoints and results go.", show_default=False)
    ] = None,
    validation: Validation = None,
    test: Test = None,
    gelu: Gelu = None,
    softmax: Softmax = None,
    pairs: Pairs = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A setting of the training, as mpccompile.DistillationConfig has them: seed=1, layers.epochs=20 (the"
            " first stage), logits.learning_rate=1e-4 (the second), layers=none (without it).",
        ),
    ] = None,
    ablations: Annotated[
        bool, typer.Option("--ablations", help="Train also without each part, and compare; labels are needed.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Train a model with cheap functions to answer as it does with its own.

    A run that was killed goes on when it is started again. The output folder then holds weights.safetensors, by the
    model's own names: load them into the model, and compile it with the same --gelu and --softmax.

    Example: mpccompile distill package.module:factory --gelu quad --softmax 2quad --data rows.npz -o run
    """
    data, output = _expect_what_is_needed(data, output, ablations=ablations, judged=test or validation, test=test)
    from mpccompile.commands import show

    with show.stages("starting"):
        import mpccompile
        from mpccompile.commands import files
        from mpccompile.commands import settings as texts

        replaced = {"gelu": files.choice_of(gelu), "softmax": files.choice_of(softmax)}
        options = files.options_of(pairs or [], replaced)
        config = texts.config_of(settings or [])
        _expect_something_to_learn(options, config)
        model, inputs = files.load_model(factory)
        if inputs is None:
            raise typer.BadParameter(
                "it returns no example inputs: return the model and a dict of them", param_hint="FACTORY"
            )
        sets = {name: _rows(rows) for name, rows in (("data", data), ("validation", validation), ("test", test))}

    def student_of(teacher: Any) -> Any:
        return mpccompile.program(teacher, inputs, options=options)

    if ablations:
        _ablate(model, student_of, sets, config, output, json=json)
        return
    trained = mpccompile.distill(
        model, student_of(model), sets["data"], validation=sets["validation"], config=config, folder=output
    )
    trained.save(output)
    if json:
        judged = None if trained.scores is None else asdict(trained.scores)
        show.as_json({"folder": str(output), "steps": len(trained.history), "validation": judged})
        return
    scores = "" if trained.scores is None else f", validation {_said(trained.scores.metric, trained.scores.loss)}"
    typer.echo(f"{output}: {len(trained.history)} steps{scores}")


def _expect_what_is_needed(
    data: str | None, output: Path | None, *, ablations: bool, judged: str | None, test: str | None
) -> tuple[str, Path]:
    """Return what has to be given.

    Raises:
        typer.BadParameter: If it is not, or something is that has no use.
    """
    if data is None:
        raise typer.BadParameter("there is nothing to train on", param_hint="--data")
    if output is None:
        raise typer.BadParameter("the results need a folder", param_hint="--output")
    if ablations and judged is None:
        raise typer.BadParameter("ablations are compared on data of their own", param_hint="--test")
    if test is not None and not ablations:
        raise typer.BadParameter(
            "it is for --ablations; compile the trained model and measure it with mpccompile evaluate",
            param_hint="--test",
        )
    return data, output


def _expect_something_to_learn(options: Options, config: DistillationConfig) -> None:
    """Refuse to teach a model what it computes already; labels it may learn.

    Raises:
        OptionError: If nothing is approximated, and no stage learns labels.
    """
    from mpccompile.errors import OptionError
    from mpccompile.evaluation.ways import has_approximations

    if has_approximations(options):
        return
    if config.labels is None:
        raise OptionError(
            "nothing is approximated, so that the student is the teacher",
            hint="Say by what: --gelu quad --softmax 2quad, or others that mpccompile passes lists.",
        )
    if config.layers is not None or config.logits is not None:
        typer.echo("Nothing is approximated: only the stage of labels has something to learn.", err=True)


def _ablate(
    model: Any, student_of: Any, sets: dict[str, Any], config: DistillationConfig, output: Path, *, json: bool
) -> None:
    from mpccompile.commands import show
    from mpccompile.distill import Plan, ablate

    judged = sets["validation"] if sets["test"] is None else sets["test"]
    plan = Plan(seeds=(config.seed,), folder=output)
    found = ablate(model, student_of, sets["data"], judged, validation=sets["validation"], config=config, plan=plan)
    if sets["test"] is None and config.select != "last":
        typer.echo("The validation data selects the weights and is reported on: give --test for other data.", err=True)
    if json:
        show.as_json([asdict(each) for each in found.outcomes])
        return
    show.print_table(found.table())
    typer.echo(f"{output / 'ablations.csv'} has one line for each.")


def _rows(name: str | None) -> Any:
    """Return the rows of an .npz file, or what a function returns."""
    from mpccompile.commands import files

    return None if name is None else files.read_data(name)


def _said(metric: float | None, loss: float | None) -> str:
    return f"metric {metric:.4f}" if metric is not None else f"loss {loss:.4g}"
