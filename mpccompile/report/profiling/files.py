"""A profile on disk: a page, a trace, charts for papers and a table for scripts, each only where it is asked for."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpccompile.atomic import replacing
from mpccompile.errors import InputError
from mpccompile.report.profiling.breakdown import NETWORKS
from mpccompile.report.profiling.trace import trace

if TYPE_CHECKING:
    from mpccompile.ir.network import Network
    from mpccompile.report.profiling.breakdown import Breakdown, Located

DOTS_PER_INCH = 200


@dataclass(frozen=True)
class Files:
    """Where each goes; None where it is not wanted.

    Attributes:
        html: A page with everything, in one file.
        trace: A timeline for Perfetto and chrome://tracing.
        charts: A folder for every chart, as PNG and SVG.
        csv: A row for each statement.
    """

    html: Path | None = None
    trace: Path | None = None
    charts: Path | None = None
    csv: Path | None = None

    @classmethod
    def named(cls, **names: str | Path | None) -> Files:
        """Return the files of these names."""
        return cls(**{name: None if path is None else Path(path) for name, path in names.items()})

    @property
    def wanted(self) -> tuple[Path, ...]:
        """Every path that something is written to."""
        return tuple(path for each in fields(self) if (path := getattr(self, each.name)) is not None)


def write(measured: Breakdown, files: Files) -> None:
    """Write what is asked for.

    Raises:
        InputError: If a file cannot be written, or a trace is asked for and no timeline was recorded.
    """
    if files.trace is not None:
        _write(files.trace, json.dumps(trace(measured), separators=(",", ":")) + "\n")
    if files.csv is not None:
        _write(files.csv, table(measured))
    if files.html is None and files.charts is None:
        return
    from mpccompile.report.profiling.charts import drawn

    figures = drawn(measured)
    if files.html is not None:
        from mpccompile.report.profiling.page import page

        _write(files.html, page(measured, {name: svg(figure) for name, figure in figures.items()}))
    if files.charts is not None:
        _make(files.charts)
        for name, figure in figures.items():
            _write(files.charts / f"{name}.svg", svg(figure))
            _write(files.charts / f"{name}.png", _png(figure))


def svg(figure: Any) -> str:
    """Return a chart as SVG text that is the same each time, its own text as text."""
    from matplotlib import rc_context

    from mpccompile.report.profiling.charts import STYLE

    buffer = io.StringIO()
    # Without a creator, a date, a format and a type nothing is said of how the file was made.
    with rc_context(STYLE):
        figure.savefig(
            buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")), transparent=True
        )
    return buffer.getvalue()


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, facecolor="white")
    return buffer.getvalue()


def _over(network: Network, each: Located) -> float:
    return each.part.seconds + each.part.over(network)


COLUMNS: dict[str, Callable[[Located], Any]] = {
    "line": lambda each: each.line,
    "operation": lambda each: each.op,
    "layer": lambda each: each.layer,
    "module": lambda each: each.module_path,
    "source": lambda each: each.source,
    "shape": lambda each: "x".join(map(str, each.shape)),
    "bytes_sent_0": lambda each: each.part.bytes_sent[0],
    "bytes_sent_1": lambda each: each.part.bytes_sent[1],
    "rounds": lambda each: each.part.rounds,
    "predicted_bytes_0": lambda each: each.part.predicted_bytes[0],
    "predicted_bytes_1": lambda each: each.part.predicted_bytes[1],
    "predicted_rounds": lambda each: each.part.predicted_rounds,
    "predicted_seconds": lambda each: each.part.predicted_seconds,
    "computing_seconds": lambda each: each.part.computing,
    "message_seconds": lambda each: each.part.wire,
    **{f"{network.name}_seconds": partial(_over, network) for network in NETWORKS},
}
"""What a row of the table says of a statement."""


def table(measured: Breakdown) -> str:
    """Return a row for each statement as CSV, the outputs last; what is not predicted is empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    unknown = "" if measured.agrees is not None else "predicted_"
    for each in measured.statements:
        row = {name: value(each) for name, value in COLUMNS.items()}
        writer.writerow(["" if unknown and name.startswith(unknown) else value for name, value in row.items()])
    return buffer.getvalue()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder cannot be made ({error.strerror})", where=str(folder)) from error


def _write(path: Path, content: str | bytes) -> None:
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content if isinstance(content, bytes) else content.encode())
    except OSError as error:
        raise InputError(f"the file cannot be written ({error.strerror})", where=str(path)) from error
