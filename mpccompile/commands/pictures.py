"""``mpccompile show``: a package as one page to look at, or as text."""

from __future__ import annotations

import json as _json
from pathlib import Path
from typing import Annotated, Any

import typer

from mpccompile.commands.parameters import Arrays, Gelu, Pairs, Shapes, Softmax

FILE = "show.html"


def show(  # noqa: PLR0913, PLR0917 - a flag each
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="A compiled package; with --debug a factory or an ONNX file.", show_default=False
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="HTML", help=f"Where the page goes: by default {FILE} in the folder."),
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(metavar="JSON", help="What `mpccompile profile FOLDER --json` printed, for measured seconds."),
    ] = None,
    browse: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    stage: Annotated[
        str | None,
        typer.Option(help="Print the graph at a stage as text: captured, optimised, or after a pass by its name."),
    ] = None,
    diff: Annotated[
        bool, typer.Option("--diff", help="Print what the pass of --stage changed; with optimised, what all did.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print what the page shows as JSON.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Find the pass that breaks a model, and the operation where it does.")
    ] = False,
    passes: Annotated[
        list[str] | None,
        typer.Option("--pass", metavar="MODULE:PASS", help="With --debug: one more pass, at the end; again for more."),
    ] = None,
    arrays: Arrays = None,
    shapes: Shapes = None,
    pairs: Pairs = None,
    gelu: Gelu = None,
    softmax: Softmax = None,
) -> None:
    """Write a page that shows a package: its graph after each pass, its source and its costs.

    The page is one file that needs no network. With --stage or --json nothing is written: what there is goes to the
    terminal.

    With --debug, PACKAGE.MODULE:FACTORY or an ONNX file takes the place of the folder, and --input and what follows are
    as for compile and export. Every pass is run and held to the model as it was captured. It ends with 1 if one breaks
    it.

    Example: mpccompile show bert.mpc --open
    """
    if debug:
        from mpccompile.commands.diagnosing import Question, diagnose

        replaced = {"gelu": gelu, "softmax": softmax}
        question = Question(str(folder), arrays, shapes or (), passes or (), pairs or [], replaced)
        _expect_none("--debug has no use for it", {"--stage": stage, "--diff": diff, "--profile": profile})
        if browse and output is None:
            raise typer.BadParameter("with --debug it needs --output", param_hint="--open")
        diagnose(question, output, as_json=json, browse=browse)
        return
    model = {"--input": arrays, "--input-shape": shapes, "--option": pairs, "--gelu": gelu, "--softmax": softmax}
    _expect_none("it is for --debug: a package has been compiled", {"--pass": passes, **model})
    if diff and stage is None:
        raise typer.BadParameter("it needs --stage", param_hint="--diff")
    if stage is not None or json:
        _expect_none("no page is written with --stage or --json", {"--output": output, "--open": browse})
    if stage is not None:
        _expect_none("a stage has no measured seconds", {"--profile": profile})
        _show_stage(folder, stage, diff=diff, json=json)
        return
    from mpccompile.commands import show as shown

    with shown.stages("reading the package"):
        from mpccompile.codegen import package as packages
        from mpccompile.report.picture import picture

        _expect_a_package(folder)
        package = packages.read(folder, ("model.py",))
        source = (folder / "model.py").read_text(encoding="utf-8")
        measured = None if profile is None else _read_profile(profile)
        value = picture(package, source, packages.read_graphs(folder), measured)
    if json:
        shown.as_json(value)
    else:
        _write(folder / FILE if output is None else output, value, browse=browse)


def _expect_a_package(folder: Path) -> None:
    from mpccompile.errors import PackageError

    if folder.suffix == ".onnx" or (":" in str(folder) and not folder.exists()):
        raise PackageError(
            f"{folder} is a model, and not the folder of a package",
            hint="Make a package with mpccompile export or compile, or add --debug.",
        )


def _show_stage(folder: Path, stage: str, *, diff: bool, json: bool) -> None:
    from mpccompile.codegen import package as packages
    from mpccompile.commands import show
    from mpccompile.errors import PackageError
    from mpccompile.report.stages import stage_diff, stage_json, stage_text

    _expect_a_package(folder)
    packages.read(folder, ())
    graphs = packages.read_graphs(folder)
    if graphs is None:
        raise PackageError("there is no graphs.json", where=str(folder), hint="Compile again.")
    if json:
        show.as_json(stage_json(graphs, stage, diff=diff))
    else:
        typer.echo(stage_diff(graphs, stage) if diff else stage_text(graphs, stage), nl=False)


def _read_profile(path: Path) -> dict[str, Any]:
    from mpccompile.errors import InputError

    try:
        value = _json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError("there is no such file", where=str(path)) from error
    except (OSError, ValueError) as error:
        raise InputError("this is no JSON file", where=str(path), hint="Use mpccompile profile --json.") from error
    return value if isinstance(value, dict) else {}


def _expect_none(why: str, given: dict[str, Any]) -> None:
    unfit = [name for name, value in given.items() if value not in (None, False)]
    if unfit:
        raise typer.BadParameter(why, param_hint=" / ".join(unfit))


def write_page(path: Path, value: dict[str, Any]) -> None:
    """Write the page of a picture.

    Raises:
        InputError: If it cannot be written.
    """
    from mpccompile.atomic import replacing
    from mpccompile.errors import InputError
    from mpccompile.report.page import page

    try:
        with replacing(path) as temporary:
            temporary.write_text(page(value), encoding="utf-8")
    except OSError as error:
        raise InputError(f"the page cannot be written ({error.strerror})", where=str(path)) from error


def _write(path: Path, value: dict[str, Any], *, browse: bool) -> None:
    from mpccompile.commands import files

    files.check_writable(path, "Choose another file with --output.")
    write_page(path, value)
    typer.echo(str(path))
    if browse:
        open_page(path)


def open_page(path: Path) -> None:
    """Open a page in a browser, or say that there is none."""
    if typer.launch(path.resolve().as_uri()) != 0:
        typer.echo("no browser could be started: open the file yourself", err=True)
