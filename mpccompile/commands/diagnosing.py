"""``mpccompile show --debug``: which pass breaks a model, as text, JSON or a page."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mpccompile.compiler import Pass
    from mpccompile.diagnosis import Diagnosis
    from mpccompile.options import Options

ONNX = ".onnx"


@dataclass(frozen=True)
class Question:
    """What is to be diagnosed, as given on the command line.

    Attributes:
        target: A factory, or an ONNX file.
        arrays: Inputs in the place of the factory's own.
        shapes: Shapes of an ONNX file's inputs.
        passes: More passes, each ``package.module:function``.
        pairs: Options as ``name=value``.
        replaced: Approximations by function.
    """

    target: str
    arrays: Path | None
    shapes: Sequence[str]
    passes: Sequence[str]
    pairs: list[str]
    replaced: dict[str, list[str] | None]


def diagnose(question: Question, output: Path | None, *, as_json: bool, browse: bool) -> None:
    """Print what is found, write the page if one is asked for, and end with 1 if a pass breaks the model."""
    from mpccompile.commands import show
    from mpccompile.commands.pictures import open_page

    with show.stages("starting") as status:
        from mpccompile.commands import files
        from mpccompile.diagnosis import diagnose as find

        files.check_writable(output)
        replaced = {name: files.choice_of(texts) for name, texts in question.replaced.items()}
        options = files.options_of(question.pairs, replaced)
        passes = [_pass(name) for name in question.passes]
        model, inputs = _model(question)
        status.update("running the passes")
        diagnosis = find(model, inputs, options, passes)
    # What was found comes first: not everything that a pass leaves can be drawn.
    if as_json:
        show.as_json(diagnosis.to_json())
    else:
        typer.echo(diagnosis.text(), nl=False)
    if output is not None:
        with show.stages("writing the page"):
            _write(diagnosis, options, output)
        if not as_json:
            typer.echo(f"written to {output}")
        if browse:
            open_page(output)
    if diagnosis.broken:
        raise typer.Exit(1)


def _pass(name: str) -> Pass:
    from mpccompile.commands import files
    from mpccompile.errors import OptionError

    found = files.named(name, "pass")
    if not callable(found):
        raise OptionError(f"{name} is no function", hint="A pass takes a Program and returns one.")
    return found


def _model(question: Question) -> tuple[nn.Module, dict[str, Tensor]]:
    from mpccompile.commands import files
    from mpccompile.errors import OptionError

    given = None if question.arrays is None else files.read_arrays(question.arrays)
    if question.target.endswith(ONNX):
        return _onnx(question, given)
    if Path(question.target).is_dir():
        raise OptionError(
            f"{question.target} is a package, which no pass has broken, or it would not have been written",
            hint="Give what it is made of: package.module:factory, or an ONNX file.",
        )
    if question.shapes:
        raise typer.BadParameter("it is for ONNX files", param_hint="--input-shape")
    model, inputs = files.load_model(question.target)
    inputs = inputs if given is None else given
    if inputs is None:
        raise typer.BadParameter("the factory gives no example inputs", param_hint="--input")
    return model, inputs


def _onnx(question: Question, given: dict[str, Tensor] | None) -> tuple[nn.Module, dict[str, Tensor]]:
    from mpccompile.capture.from_onnx import examples
    from mpccompile.capture.from_onnx.model import OnnxModel
    from mpccompile.capture.from_onnx.shapes import parse_shapes
    from mpccompile.errors import InputError, OptionError

    shapes = parse_shapes(list(question.shapes))
    model = OnnxModel.read(Path(question.target))
    try:
        batches = examples.made_up(model, shapes) if given is None else examples.from_arrays(model, shapes, given)
    except InputError as error:
        raise OptionError(error.what, where="--input" if given is not None else error.where, hint=error.hint) from error
    return model, batches[0]


def _write(diagnosis: Diagnosis, options: Options, output: Path) -> None:
    """Write the page of what the first broken pass made of the model, or of the compiled model where none is broken.

    Raises:
        PassFailed: If a pass left nothing that can be drawn.
    """
    from mpccompile import compiler
    from mpccompile.codegen import package as packages
    from mpccompile.commands.pictures import write_page
    from mpccompile.errors import MpcCompileError, PassFailed
    from mpccompile.report.picture import picture

    program = diagnosis.program
    with tempfile.TemporaryDirectory(prefix="mpccompile-") as folder:
        try:
            ranged, sites = compiler.with_ranges(program, [program.example_inputs], options)
            package = packages.write(ranged, sites, options, Path(folder))
        except MpcCompileError:
            raise
        except Exception as error:
            first = (str(error).strip().splitlines() or [""])[0]
            raise PassFailed(f"what the pass left cannot be drawn ({type(error).__name__}: {first})") from error
        source = (package.folder / "model.py").read_text(encoding="utf-8")
        value: dict[str, Any] = picture(package, source, packages.read_graphs(package.folder))
    value |= {"broken": diagnosis.broken_json(), "drawn": diagnosis.drawn}
    write_page(output, value)
