"""``mpccompile show``: a package as one page to look at, or as text."""

from __future__ import annotations

import json as _json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mpccompile.codegen.graphs import Graphs

FILE = "show.html"


def show(
    folder: Annotated[Path, typer.Argument(help="A compiled package.", show_default=False)],
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
) -> None:
    """Write a page that shows a package: its graph after each pass, its source and its costs.

    The page is one file that needs no network. With --stage or --json nothing is written.
    """
    from mpccompile.commands import show as shown

    if diff and stage is None:
        raise typer.BadParameter("it needs --stage", param_hint="--diff")
    with shown.stages("reading the package"):
        from mpccompile.codegen import package as packages

        package = packages.read(folder, ("model.py",))
        graphs = packages.read_graphs(folder)
        if stage is not None:
            text = _stage(folder, graphs, stage, diff=diff)
        else:
            from mpccompile.report.picture import picture

            source = (folder / "model.py").read_text(encoding="utf-8")
            value = picture(package, source, graphs, None if profile is None else _read_profile(profile))
    if stage is not None:
        typer.echo(text, nl=False)
    elif json:
        shown.as_json(value)
    else:
        _write(folder / FILE if output is None else output, value, browse=browse)


def _stage(folder: Path, graphs: Graphs | None, stage: str, *, diff: bool) -> str:
    from mpccompile.errors import PackageError
    from mpccompile.report.stages import stage_diff, stage_text

    if graphs is None:
        raise PackageError("there is no graphs.json", where=str(folder), hint="Compile again.")
    return stage_diff(graphs, stage) if diff else stage_text(graphs, stage)


def _read_profile(path: Path) -> dict[str, Any]:
    from mpccompile.errors import InputError

    try:
        value = _json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError("there is no such file", where=str(path)) from error
    except (OSError, ValueError) as error:
        raise InputError("this is no JSON file", where=str(path), hint="Use mpccompile profile --json.") from error
    return value if isinstance(value, dict) else {}


def _write(path: Path, value: dict[str, Any], *, browse: bool) -> None:
    from mpccompile.atomic import replacing
    from mpccompile.commands import files
    from mpccompile.errors import InputError
    from mpccompile.report.page import page

    files.check_writable(path)
    try:
        with replacing(path) as temporary:
            temporary.write_text(page(value), encoding="utf-8")
    except OSError as error:
        raise InputError(f"the page cannot be written ({error.strerror})", where=str(path)) from error
    typer.echo(str(path))
    if browse and typer.launch(path.resolve().as_uri()) != 0:
        typer.echo("no browser could be started: open the file yourself", err=True)
