"""``mpccompile compile``: a factory's model to a package on disk."""

from __future__ import annotations

from typing import Annotated

import typer

from mpccompile.commands.parameters import (
    Arrays,
    AsJson,
    Force,
    Gelu,
    Output,
    Pairs,
    Selections,
    Softmax,
    Target,
    Tolerance,
)


def compile_model(  # noqa: PLR0913, PLR0917 - a flag each
    factory: Annotated[
        str,
        typer.Argument(
            metavar="PACKAGE.MODULE:FACTORY",
            help="A function that returns a model, or a model and a dict of example inputs.",
            show_default=False,
        ),
    ],
    folder: Output,
    arrays: Arrays = None,
    pairs: Pairs = None,
    tolerance: Tolerance = None,
    target: Target = None,
    gelu: Gelu = None,
    softmax: Softmax = None,
    tokens: Annotated[
        int | None,
        typer.Option(
            "--generate",
            min=2,
            metavar="TOKENS",
            help="Make a package that writes texts of up to so many tokens, the prompt among them, or, of a T5, answers"
            " of so many new ones. Ranges are found on the example input_ids, continued by the model itself.",
            show_default=False,
        ),
    ] = None,
    selection: Annotated[
        Selections, typer.Option(help="Who sees the tokens of a text: the client, or nobody before it is complete.")
    ] = Selections.CLIENT,
    force: Force = False,
    json: AsJson = False,
) -> None:
    """Compile a model and write the package to a folder.

    Inputs of --input take the place of the factory's own. Their shapes are the ones the package can be run with, and
    their values calibrate the ranges of private values.

    Example: mpccompile compile package.module:factory -o bert.mpc --input examples.npz
    """
    from mpccompile.commands import show

    with show.stages("starting") as status:
        from mpccompile import compiler
        from mpccompile.commands import files

        replaced = {"gelu": files.choice_of(gelu), "softmax": files.choice_of(softmax)}
        chosen = files.options_of(pairs or [], {"tolerance": tolerance, "target": target and target.value, **replaced})
        files.check_empty(folder, force=force)
        files.check_folder(folder)
        status.update(f"making the model of {factory}")
        model, inputs = files.load_model(factory)
        inputs = inputs if arrays is None else files.read_arrays(arrays)
        if inputs is None:
            raise typer.BadParameter("the factory gives no example inputs", param_hint="--input")
        status.update(f"capturing {type(model).__name__}")
        if tokens is not None:
            from mpccompile.private import PrivateModel

            PrivateModel(model, chosen, compiler.passes_for(chosen), [inputs]).save_generator(
                folder, tokens, selection=selection.value
            )
            name = type(model).__name__
            if json:
                show.as_json({"folder": str(folder), "name": name, "tokens": tokens})
            else:
                answers = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
                told = f"answers of up to {tokens} new tokens" if answers else f"texts of up to {tokens} tokens"
                typer.echo(f"{folder}: {name}, {told}")
            return
        package = compiler.build(
            model,
            inputs,
            folder,
            options=chosen,
            passes=compiler.passes_for(chosen),
            observer=lambda _program, record: status.update(f"compiling {type(model).__name__} ({record.name} done)"),
        )
    show.package_told(package, folder, json_wanted=json)
