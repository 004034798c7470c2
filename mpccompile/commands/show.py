"""What commands print: tables, costs and JSON."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pathlib import Path

    from rich.status import Status
    from torch import Tensor

    from mpccompile.approximations import Approximation
    from mpccompile.capture.from_onnx.listing import Listed
    from mpccompile.codegen.package import Package
    from mpccompile.compiler import Pass
    from mpccompile.report.doctor import Finding
    from mpccompile.report.profile import Profile

SHOWN_VALUES = 32
MARKS = {True: ("ok", "green"), False: ("FAILED", "bold red"), None: ("", "")}


@contextmanager
def stages(first: str) -> Iterator[Status]:
    """Show on a terminal what is being done; nothing where the output goes elsewhere."""
    with Console(stderr=True).status(first) as status:
        yield status


def as_json(value: object) -> None:
    """Print one JSON value."""
    typer.echo(json.dumps(value, indent=2))


def print_table(table: Table) -> None:
    """Print a table, as wide as it needs to be where there is no terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(table)


def cost_of(profiles: Sequence[Profile]) -> dict[str, Any]:
    """Return what runs cost as JSON values: times per run, traffic of one, as it is the same in each."""
    last = profiles[-1]
    return {
        "online_seconds": [profile.online_seconds for profile in profiles],
        "offline_seconds": [profile.offline_seconds for profile in profiles],
        "bytes_sent": list(last.bytes_sent),
        "offline_bytes": last.offline_bytes,
        "rounds": last.rounds,
    }


def run_json(outputs: Mapping[str, Tensor], profiles: Sequence[Profile]) -> None:
    """Print a run as JSON."""
    shapes = {
        name: {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
        for name, value in outputs.items()
    }
    as_json({"outputs": shapes, **cost_of(profiles)})


def run_text(outputs: Mapping[str, Tensor], profiles: Sequence[Profile], written: Path | None) -> None:
    """Print the outputs' shapes, small ones' values where they are not written, and what the runs cost."""
    for name, value in outputs.items():
        typer.echo(f"{name}: {str(value.dtype).removeprefix('torch.')} {list(value.shape)}")
        if written is None and value.numel() <= SHOWN_VALUES:
            typer.echo(f"  {value.tolist()}")
    if written is not None:
        typer.echo(f"written to {written}")
    last = profiles[-1]
    online = ", ".join(f"{profile.online_seconds:.3f}" for profile in profiles)
    offline = ", ".join(f"{profile.offline_seconds:.3f}" for profile in profiles)
    typer.echo(f"online:  {online} s, {last.rounds} rounds, {max(last.bytes_sent) / 1e6:.3f} MB sent by each party")
    typer.echo(f"offline: {offline} s, {last.offline_bytes / 1e6:.3f} MB from the dealer")


def module_table(profile: Profile) -> Table:
    """Return the cost per module of the user's model as a table."""
    from mpccompile.report.profile import sizes

    table = Table(title="Online cost by module")
    for name in ("module", "operations", "party 0 sends", "party 1 sends", "rounds", "seconds"):
        table.add_column(name, justify="left" if name == "module" else "right")
    for row in profile.by_module():
        name, spent = row.module_path or "(top level)", f"{row.seconds:.3f}"
        table.add_row(name, str(row.calls), *sizes(row.bytes_sent), str(row.rounds), spent)
    table.add_section()
    spent = f"{profile.online_seconds:.3f}"
    table.add_row("total", str(len(profile.rows)), *sizes(profile.bytes_sent), str(profile.rounds), spent)
    return table


TOLD = ("name", "replaces", "formula", "domain", "typical", "typical_error", "source", "accuracy", "cost")


def passes_json(passes: Iterable[Pass], approximations: Iterable[Approximation]) -> None:
    """Print passes with their docstrings, and approximations with what they say of themselves, as JSON."""
    told = [{"name": each.__name__, "summary": _doc(each)[0], "details": _doc(each)[1]} for each in passes]
    chosen = [{name: getattr(each, name) for name in TOLD} for each in approximations]
    as_json({"passes": told, "approximations": chosen})


def passes_text(passes: Iterable[Pass], approximations: Iterable[Approximation], *, verbose: bool) -> None:
    """Print passes with the first line of their docstrings, or with all of it, then the approximations."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for each in passes:
        summary, details = _doc(each)
        table.add_row(Text(each.__name__, "bold"), Text(summary))
        if verbose:
            table.add_row("", Text(f"{details}\n"))
    print_table(table)
    print_table(_approximation_table(approximations, verbose=verbose))


def _approximation_table(approximations: Iterable[Approximation], *, verbose: bool) -> Table:
    table = Table(
        title="\nOnly when asked for, as they change the answers", title_justify="left", box=None, pad_edge=False
    )
    table.add_column("option", no_wrap=True)
    for name in ("worst error", "computes", "domain", "source"):
        table.add_column(name)
    for each in approximations:
        low, high = each.typical
        error = f"{each.typical_error:.2g} on [{low:g}, {high:g}]"
        table.add_row(Text(f"{each.replaces}={each.name}", "bold"), error, each.formula, each.domain, each.source)
        if verbose:
            table.add_row("", "", each.cost, each.accuracy, "")
    return table


def _doc(each: Pass) -> tuple[str, str]:
    first, _, rest = (inspect.getdoc(each) or "").partition("\n")
    return first, rest.strip()


def findings_text(findings: Iterable[Finding]) -> None:
    """Print what the doctor found."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column()
    table.add_column()
    for finding in findings:
        text, style = MARKS[finding.works]
        table.add_row(Text(finding.name, "bold"), Text(finding.value), Text(text, style))
    print_table(table)


def operators_text(operators: Iterable[Listed]) -> None:
    """Print the operators of ONNX that can be imported."""
    table = Table(box=None, pad_edge=False)
    table.add_column("operator", no_wrap=True)
    for name in ("since opset", "on values that are", "computes"):
        table.add_column(name)
    for each in operators:
        since = "" if each.opset is None else str(each.opset)
        table.add_row(Text(each.name, "bold"), since, each.values, Text(each.meaning))
    print_table(table)


def package_told(package: Package, folder: Path, *, json_wanted: bool) -> None:
    """Print what was compiled: where it is, what it takes and what it answers."""
    inputs = [
        {
            "name": spec.name,
            "shape": list(spec.shape),
            "dtype": str(spec.dtype).removeprefix("torch."),
            "secrecy": spec.secrecy.value,
        }
        for spec in package.inputs
    ]
    if json_wanted:
        made = {"folder": str(folder), "name": package.name, "statements": len(package.statements)}
        as_json({**made, "inputs": inputs, "outputs": list(package.output.keys)})
        return
    typer.echo(f"{folder}: {package.name}, {len(package.statements)} statements")
    for each in inputs:
        typer.echo(f"  {each['name']}: {each['dtype']} {each['shape']}, {each['secrecy']}")
    typer.echo(f"  answers: {', '.join(package.output.keys)}")
