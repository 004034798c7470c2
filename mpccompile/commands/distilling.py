"""The ``mpccompile distill`` command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpccompile.commands.parameters import Chosen

if TYPE_CHECKING:
    from mpccompile.distill.config import DistillationConfig

Rows = Annotated[
    str | None,
    typer.Option(
        metavar="NPZ|PACKAGE.MODULE:FUNCTION",
        help="Rows of inputs and labels by name: an .npz file, or a function that returns a data set.",
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
    validation: Rows = None,
    test: Rows = None,
    gelu: Chosen = None,
    softmax: Chosen = None,
    pairs: Annotated[
        list[str] | None, typer.Option("--option", metavar="NAME=VALUE", help="A field of mpccompile.Options.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A field of mpccompile.DistillationConfig, or of a stage: seed=1, layers.epochs=20, layers=none.",
        ),
    ] = None,
    ablations: Annotated[
        bool, typer.Option("--ablations", help="Train also without each part, and compare; labels are needed.")
    ] = False,
) -> None:
    """Train a model with cheap functions to answer as it does with its own.

    A run that was killed goes on when it is started again. The output folder then holds weights.safetensors, by the
    model's own names: load them into the model, and compile it with the same --gelu and --softmax.
    """
    if data is None:
        raise typer.BadParameter("there is nothing to train on", param_hint="--data")
    if output is None:
        raise typer.BadParameter("the results need a folder", param_hint="--output")
    if ablations and test is None and validation is None:
        raise typer.BadParameter("ablations are compared on data of their own", param_hint="--test")
    from mpccompile.commands import show

    with show.stages("starting"):
        import mpccompile
        from mpccompile.commands import files

        replaced = {"gelu": files.choice_of(gelu), "softmax": files.choice_of(softmax)}
        options = files.options_of(pairs or [], replaced)
        config = _config(settings or [])
        model, inputs = files.load_model(factory)
        if inputs is None:
            raise typer.BadParameter("it gives no example inputs", param_hint="FACTORY")
        sets = {name: _rows(rows) for name, rows in (("data", data), ("validation", validation), ("test", test))}

    def student_of(teacher: Any) -> Any:
        return mpccompile.program(teacher, inputs, options=options)

    if ablations:
        _ablate(model, student_of, sets, config, output)
        return
    trained = mpccompile.distill(
        model, student_of(model), sets["data"], validation=sets["validation"], config=config, folder=output
    )
    trained.save(output)
    scores = "" if trained.scores is None else f", validation {_said(trained.scores.metric, trained.scores.loss)}"
    typer.echo(f"{output}: {len(trained.history)} steps{scores}")


def _ablate(model: Any, student_of: Any, sets: dict[str, Any], config: DistillationConfig, output: Path) -> None:
    from mpccompile.commands import show
    from mpccompile.distill import Plan, ablate

    judged = sets["validation"] if sets["test"] is None else sets["test"]
    plan = Plan(seeds=(config.seed,), folder=output)
    found = ablate(model, student_of, sets["data"], judged, validation=sets["validation"], config=config, plan=plan)
    if sets["test"] is None and config.select != "last":
        typer.echo("The validation data selects the weights and is reported on: give --test for other data.", err=True)
    show.print_table(found.table())
    typer.echo(f"{output / 'ablations.csv'} has one line for each.")


def _config(settings: list[str]) -> DistillationConfig:
    """Build a config from ``name=value`` texts.

    Raises:
        OptionError: If a name or a value means nothing.
    """
    from dataclasses import replace

    from mpccompile.distill.config import DistillationConfig, Stage

    config = DistillationConfig()
    for setting in settings:
        name, _, text = setting.partition("=")
        stage, _, field = name.rpartition(".")
        if stage == "text_loss":
            config = replace(config, text_loss=_changed(config.text_loss, field, text, setting))
        elif stage:
            # A stage that there is none of starts as one epoch at the first stage's learning rate.
            owner = getattr(config, stage, None) or Stage(1, 5e-5) if stage in _STAGES else None
            config = replace(config, **{stage: _changed(owner, field, text, setting)})
        else:
            config = _changed(config, field, text, setting)
    return config


_STAGES = ("layers", "logits", "labels", "text")


def _changed(owner: Any, field: str, text: str, setting: str) -> Any:
    """Return a dataclass with one field read from text; None has no fields."""
    from dataclasses import fields, replace

    from mpccompile.errors import OptionError

    known = {each.name for each in fields(owner)} if owner is not None else set()
    value = _value(text)
    kind = type(getattr(owner, field, None))
    fits = value is None or kind is type(None) or isinstance(value, kind) or (kind is float and isinstance(value, int))
    if field not in known or not text or not fits:
        raise OptionError(f"{setting!r} is no setting", hint="Write it as seed=1, layers.epochs=20 or layers=none.")
    return replace(owner, **{field: value})


def _value(text: str) -> bool | float | str | None:
    words = {"none": None, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _rows(name: str | None) -> Any:
    """Return the rows of an .npz file, or what a function returns."""
    from mpccompile.commands import files

    return None if name is None else files.read_data(name)


def _said(metric: float | None, loss: float | None) -> str:
    return f"metric {metric:.4f}" if metric is not None else f"loss {loss:.4g}"
