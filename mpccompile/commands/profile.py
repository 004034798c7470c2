"""``mpccompile profile``: where a run's bytes, rounds and seconds go, as a table, a page, charts and a trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpccompile.commands.parameters import Arrays, AsJson, Device, Folder, Repeat

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.status import Status
    from torch import Tensor, nn

    from mpccompile.codegen.package import Package
    from mpccompile.private import PrivateModel
    from mpccompile.report.profile import Profile
    from mpccompile.report.profiling.files import Files


class By(Enum):
    """What a profile is grouped by."""

    OP = "op"
    MODULE = "module"


class Way(Enum):
    """What else runs the model."""

    PLAINTEXT = "plaintext"
    CRYPTEN = "crypten"
    CUDA = "cuda"


def profile(  # noqa: PLR0913, PLR0917 - a flag each
    folder: Folder,
    arrays: Arrays = None,
    by: Annotated[By, typer.Option(help="One row per operation, or per module of the model.")] = By.OP,
    repeat: Repeat = 1,
    device: Device = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a page: timeline, costs by layer and operation, networks."),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a timeline for ui.perfetto.dev or chrome://tracing."),
    ] = None,
    charts: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write the charts as PNG and SVG.")] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a row for each statement.")] = None,
    against: Annotated[
        list[Way] | None,
        typer.Option(help="Run another way too, in turn, and compare; again for more. crypten needs --model."),
    ] = None,
    factory: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODULE:FACTORY",
            help="A function that returns the model the package is of; else the package in float32 is plaintext.",
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Run a package and show where bytes, rounds and seconds go.

    Without --input it runs on made-up inputs of the right shapes: costs do not depend on values. A first run is not
    counted; of several others, the one in the middle by online time is shown.

    Example: mpccompile profile bert.mpc --html report.html --trace trace.json --against plaintext
    """
    from mpccompile.commands import show

    ways = tuple(each.value for each in against or ())
    _expect_a_model(ways, factory)
    with show.stages("starting") as status:
        from mpccompile.commands import files
        from mpccompile.report.profiling.breakdown import breakdown
        from mpccompile.report.profiling.files import Files, write

        wanted = Files(html, trace, charts, csv)
        _check_places(wanted)
        package, private = files.open_package(folder, device)
        _expect_a_timeline(package, wanted)
        model = None if factory is None else files.load_model(factory)[0]
        inputs = files.made_up_inputs(package) if arrays is None else files.read_inputs(arrays, package)
        how = _How(repeat, ways, model, timeline=bool(wanted.wanted))
        middle = _measured(private, inputs, how, status, made_up=arrays is None)
        measured = breakdown(package, middle)
        write(measured, wanted)
    if json:
        show.as_json({**middle.to_json(), "breakdown": measured.to_json()})
        return
    _print(middle, by)
    for path in wanted.wanted:
        typer.echo(f"written to {path}")


@dataclass(frozen=True)
class _How:
    repeat: int
    against: tuple[str, ...]
    model: nn.Module | None
    timeline: bool


def _expect_a_model(ways: tuple[str, ...], factory: str | None) -> None:
    if factory is None and Way.CRYPTEN.value in ways:
        raise typer.BadParameter("stock CrypTen runs the model itself", param_hint="--model")
    if factory is not None and not ways:
        raise typer.BadParameter("it is for --against", param_hint="--model")


def _check_places(wanted: Files) -> None:
    from mpccompile.commands import files

    for path in (wanted.html, wanted.trace, wanted.csv):
        files.check_writable(path)
    if wanted.charts is not None:
        files.check_folder(wanted.charts)


def _expect_a_timeline(package: Package, wanted: Files) -> None:
    from mpccompile.errors import OptionError

    if wanted.trace is not None and package.options.target == "crypten":
        raise OptionError("stock CrypTen tells no timeline", where="option --trace", hint="Leave it out.")


@contextmanager
def _blaming(*, made_up: bool) -> Iterator[None]:
    """Where inputs were made up, say of one that is refused that real ones are needed."""
    from mpccompile.errors import InputError, RangeExceeded

    try:
        yield
    except (InputError, RangeExceeded) as error:
        if not made_up:
            raise
        raise RangeExceeded("made-up inputs are not in the calibrated ranges", hint="Give --input.") from error


def _measured(
    private: PrivateModel, inputs: Mapping[str, Tensor], how: _How, status: Status, *, made_up: bool
) -> Profile:
    """Run once uncounted, then as often as asked, and return the run in the middle."""
    from mpccompile.commands.running import start

    named: dict[str, Any] = dict(inputs)
    with private:
        with _blaming(made_up=made_up):
            start(private, inputs, status)
            private(**named)
        if how.against:
            status.update(f"running in turn with {', '.join(how.against)}")
            return private.profile(
                **named, against=how.against, repeat=how.repeat, timeline=how.timeline, model=how.model
            )
        profiles = []
        for count in range(how.repeat):
            status.update(f"running ({count + 1} of {how.repeat})")
            profiles.append(private.profile(**named, timeline=how.timeline))
    return sorted(profiles, key=lambda one: one.online_seconds)[len(profiles) // 2]


def _print(middle: Profile, by: By) -> None:
    from mpccompile.commands import show
    from mpccompile.report import compare

    show.print_table(middle.table() if by is By.OP else show.module_table(middle))
    if middle.costs:
        show.print_table(compare.table(middle.costs))
