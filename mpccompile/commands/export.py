"""``mpccompile export``: an ONNX file to a package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpccompile.commands.parameters import AsJson, Force, Gelu, Output, Pairs, Shapes, Softmax, Target, Tolerance

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from mpccompile.capture.from_onnx.model import OnnxModel

File = Annotated[Path, typer.Argument(metavar="FILE.onnx", help="The model.", show_default=False)]
Names = Annotated[
    list[str] | None, typer.Option("--secret", metavar="NAME", help="An input to keep secret; again for more.")
]
Shown = Annotated[
    list[str] | None, typer.Option("--public", metavar="NAME", help="An input all may know; again for more.")
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="NPZ", help="Inputs by name, of one batch or more, to calibrate the ranges of values with."
    ),
]


def export(  # noqa: PLR0913, PLR0917 - a flag each
    file: File,
    folder: Output,
    shapes: Shapes = None,
    secret: Names = None,
    public: Shown = None,
    data: Data = None,
    pairs: Pairs = None,
    tolerance: Tolerance = None,
    target: Target = None,
    gelu: Gelu = None,
    softmax: Softmax = None,
    force: Force = False,
    json: AsJson = False,
) -> None:
    """Compile an ONNX file and write the package to a folder, for run, profile, show and evaluate.

    Example: mpccompile export bert.onnx -o bert.mpc --input-shape input_ids=1,128 --data examples.npz

    Numbers and token ids are secret; masks, positions and segments, known by their names, are public. A package runs
    inputs of one shape. Without --data the ranges of private values come from made-up inputs, and real ones may leave
    them.
    """
    from mpccompile.commands import show

    with show.stages("starting") as status:
        from mpccompile import compiler
        from mpccompile.capture.from_onnx.model import OnnxModel
        from mpccompile.capture.from_onnx.shapes import parse_shapes
        from mpccompile.commands import files

        replaced = {"gelu": files.choice_of(gelu), "softmax": files.choice_of(softmax)}
        named: dict[str, Any] = {"tolerance": tolerance, "target": target and target.value, **replaced}
        named |= {"secret": tuple(secret or ()) or None, "public": tuple(public or ()) or None}
        chosen = files.options_of(pairs or [], named)
        files.check_empty(folder, force=force)
        files.check_folder(folder)
        given = parse_shapes(shapes or [])
        status.update(f"reading {file}")
        model = OnnxModel.read(file)
        batches = _batches(model, given, None if data is None else files.read_arrays(data))
        status.update(f"importing {file}")
        package = compiler.build(
            model,
            batches[0],
            folder,
            options=chosen,
            passes=compiler.passes_for(chosen),
            calibration=batches[1:],
            observer=lambda _program, record: status.update(f"compiling {model.name} ({record.name} done)"),
        )
    if data is None:
        typer.echo("warning: ranges come from made-up inputs; give real ones with --data", err=True)
    show.package_told(package, folder, json_wanted=json)


def _batches(
    model: OnnxModel, given: Mapping[str, Sequence[int]], arrays: Mapping[str, Tensor] | None
) -> list[dict[str, Tensor]]:
    from mpccompile.capture.from_onnx import examples
    from mpccompile.errors import InputError, OptionError

    try:
        if arrays is None:
            return examples.made_up(model, given)
        return examples.from_arrays(model, given, arrays)
    except InputError as error:
        # What is wrong is a value of an option.
        raise OptionError(error.what, where=error.where, hint=error.hint) from error
