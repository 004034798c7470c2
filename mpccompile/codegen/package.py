"""The folder a compilation leaves: readable code, weights, plan and a manifest that vouches for each file."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from mpccompile.atomic import filling
from mpccompile.codegen import graphs
from mpccompile.codegen.emit import Statement, identifier
from mpccompile.codegen.emit_crypten import emit_crypten
from mpccompile.codegen.rehearse import Rehearsed, Rounds, rehearse
from mpccompile.errors import PackageError
from mpccompile.ir import ops
from mpccompile.ir.program import InputSpec, OutputSpec, PassRecord, Program, Secrecy
from mpccompile.ir.rewrite import arguments, weight_data
from mpccompile.options import Options
from mpccompile.runtime.plan import Plan, Traffic, Work
from mpccompile.runtime.program import ProgramDescription

if TYPE_CHECKING:
    from mpccompile.codegen.graphs import Graphs
    from mpccompile.codegen.ranges import Site

FORMAT = 5
FILES = ("model.py", "weights.safetensors", "constants.safetensors", "plan.json")
FILES_BY_ROLE = {
    "0": FILES,
    "1": ("model.py", "constants.safetensors", "plan.json"),
    "dealer": ("plan.json",),
}
"""What each process of a run reads besides the manifest: only party 0 may see the weights."""
FINE_BITS = 20
"""Fractional bits of tables and other weights that are only looked up or added: it costs nothing there, and embeddings
drawn with deviation 0.02 keep 14 significant bits into the first norm."""


@dataclass(frozen=True)
class Package:
    """A package folder, read and checked.

    Attributes:
        folder: Where it is.
        inputs: Inputs in order.
        output: How flat outputs become the model's own.
        statements: What each line of ``model.py`` is.
        traffic: Static online cost by line.
        work: What there is to compute, by line.
        offline_bytes: What the dealer sends for one call.
        options: What it was compiled for.
        history: The passes.
        name: The model's class name.
        rounds: What the rounds of a call are to be compared with; None where nothing is known of them.
    """

    folder: Path
    inputs: tuple[InputSpec, ...]
    output: OutputSpec
    statements: tuple[Statement, ...]
    traffic: tuple[Traffic, ...]
    work: tuple[Work, ...]
    offline_bytes: int
    options: Options
    history: tuple[PassRecord, ...]
    name: str
    rounds: Rounds | None = None


def write(program: Program, sites: Mapping[str, Site], options: Options, folder: Path) -> Package:
    """Write a lowered, calibrated program to ``folder`` and return the package.

    Raises:
        PackageError: If the folder cannot be written.
    """
    secret, public = _weights(program)
    description = _description(program, secret, public, options)
    if options.target == "crypten":
        written = Rehearsed(emit_crypten(program, options), Plan((), (), 0), None)
    else:
        written = rehearse(program, sites, ProgramDescription.from_json(description), public)
    try:
        with filling(folder) as place:
            (place / "model.py").write_text(written.emitted.source, encoding="utf-8")
            save_file(secret, place / "weights.safetensors")
            save_file(public, place / "constants.safetensors")
            _write_json(place / "plan.json", _plan_json(written.plan))
            (place / graphs.FILE).write_text(graphs.to_json(program, written), encoding="utf-8")
            manifest = _manifest(program, description, written, options)
            manifest["sha256"] = {name: _digest(place / name) for name in (*FILES, graphs.FILE)}
            manifest["sha256"]["manifest"] = _manifest_digest(manifest)
            _write_json(place / "manifest.json", manifest)
    except OSError as error:
        raise PackageError(f"the package cannot be written ({error.strerror})", where=str(folder)) from error
    except SafetensorError as error:
        # What it says of a full disk.
        raise PackageError(f"the weights cannot be written ({error})", where=str(folder)) from error
    return read(folder)


def plan_of(program: Program, sites: Mapping[str, Site], options: Options) -> Plan:
    """Return the plan that a package for this package's own protocols would have, without writing one."""
    secret, public = _weights(program)
    described = ProgramDescription.from_json(_description(program, secret, public, options))
    return rehearse(program, sites, described, public).plan


def read(folder: Path, files: Sequence[str] = FILES) -> Package:
    """Read a package and check its files against the manifest.

    Args:
        folder: Where it is.
        files: The files that are needed; others may be absent.

    Raises:
        PackageError: If something is missing, damaged, edited, or of another format.
    """
    if folder.is_file():
        raise PackageError("this is a file, and not the folder of a package", where=str(folder))
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        what = "it has no manifest.json" if folder.is_dir() else "there is no such folder"
        raise PackageError(f"this is not a compiled package: {what}", where=str(folder)) from error
    except (OSError, ValueError) as error:
        raise PackageError("manifest.json cannot be read", where=str(folder), hint="Compile again.") from error
    if not isinstance(manifest, dict):
        raise PackageError("manifest.json is damaged: it is not an object", where=str(folder), hint="Compile again.")
    if manifest.get("format") != FORMAT:
        raise PackageError(
            f"package format {manifest.get('format')!r}, this version reads {FORMAT}",
            where=str(folder),
            hint="Compile again.",
        )
    digests = manifest.get("sha256")
    if not isinstance(digests, dict) or digests.get("manifest") != _manifest_digest(manifest):
        raise PackageError(
            "manifest.json is not the one that was written: its SHA-256 differs",
            where=str(folder),
            hint="Compile again.",
        )
    for name in files:
        if not (folder / name).is_file():
            raise PackageError(f"{name} is missing", where=str(folder), hint="Compile again.")
        if _digest(folder / name) != digests.get(name):
            raise PackageError(
                f"{name} is not the file that was compiled: its SHA-256 differs from the manifest's",
                where=str(folder),
                hint="Restore it or compile again.",
            )
    return _package(folder, manifest)


def read_graphs(folder: Path) -> Graphs | None:
    """Return the graphs of a package that :func:`read` has checked; None where this copy has none.

    Raises:
        PackageError: If the file is damaged or edited.
    """
    if not (folder / graphs.FILE).is_file():
        return None
    digests = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["sha256"]
    if _digest(folder / graphs.FILE) != digests.get(graphs.FILE):
        raise PackageError(
            f"{graphs.FILE} is not the file that was compiled: its SHA-256 differs from the manifest's",
            where=str(folder),
            hint="Restore it, or remove it: only pictures need it.",
        )
    return graphs.from_json((folder / graphs.FILE).read_text(encoding="utf-8"))


def _manifest_digest(manifest: Mapping[str, Any]) -> str:
    """Return the SHA-256 of everything the manifest says, its own digest excepted."""
    digests = manifest.get("sha256")
    others = {name: value for name, value in digests.items() if name != "manifest"} if isinstance(digests, dict) else {}
    body = json.dumps({**manifest, "sha256": others}, sort_keys=True)
    return hashlib.sha256(body.encode()).hexdigest()


def copy(package: Package, folder: Path) -> None:
    """Copy a package to a folder; where it stands there already, nothing is done.

    Raises:
        PackageError: If that cannot be done.
    """
    if folder.resolve() == package.folder.resolve():
        return
    try:
        with filling(folder) as place:
            shutil.copytree(package.folder, place, dirs_exist_ok=True)
    except (OSError, shutil.Error) as error:
        raise PackageError("the package cannot be saved", where=str(folder), hint=str(error)) from error


def _weights(program: Program) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    secret: dict[str, Tensor] = {}
    public: dict[str, Tensor] = {}
    for node in program.graph.nodes:
        if node.op == "get_attr":
            name = str(node.target)
            data = weight_data(program.module, node).contiguous()
            (secret if name in program.secret_attributes else public)[name] = data
    return _apart(secret), _apart(public)


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy what shares memory with one before it, which a file of safetensors does not take; nothing else is copied."""
    apart: dict[str, Tensor] = {}
    places: set[int] = set()
    for name, data in tensors.items():
        place = data.untyped_storage().data_ptr()
        apart[name] = data.clone() if place in places else data
        places.add(place)
    return apart


def _description(
    program: Program, secret: Mapping[str, Tensor], public: Mapping[str, Tensor], options: Options
) -> dict[str, Any]:
    fine, factors = _fine_weights(program), _factors(program)
    weights = [
        {
            "name": name,
            "shape": list(data.shape),
            "dtype": _name(data.dtype),
            "frac_bits": (FINE_BITS if name in fine else options.frac_bits) if name in secret else None,
            "factor": name in factors,
        }
        for name, data in sorted({**secret, **public}.items())
    ]
    inputs = [
        {
            "name": spec.name,
            "shape": list(spec.shape),
            "dtype": _name(spec.dtype),
            "kind": _kind(spec),
            "limit": spec.limit,
        }
        for spec in program.inputs
    ]
    resident = dict(program.output.resident)
    return {
        "class_name": identifier(program.name),
        "resident": [[index, key] for index, key in enumerate(program.output.keys) if key in resident],
        "inputs": inputs,
        "weights": weights,
        "frac_bits": options.frac_bits,
        "truncation": options.truncation,
    }


def _fine_weights(program: Program) -> set[str]:
    """Return the weights that are only looked up or added, directly or rearranged."""
    additive = (ops.embedding, ops.add, ops.sub)
    fine: set[str] = set()
    coarse: set[str] = set()
    for node in program.graph.nodes:
        if node.op == "get_attr":
            (fine if all(user.target in additive for user in node.users) else coarse).add(str(node.target))
    return fine - coarse


def _factors(program: Program) -> set[str]:
    """Return the weights that are only ever the matrix of a linear or a convolution."""
    factors: set[str] = set()
    others: set[str] = set()
    for node in program.graph.nodes:
        if node.op == "get_attr":
            products = (ops.linear, ops.conv2d)
            alone = all(user.target in products and arguments(user)["weight"] is node for user in node.users)
            (factors if alone else others).add(str(node.target))
    return factors - others


def _kind(spec: InputSpec) -> str:
    if spec.secrecy is Secrecy.PUBLIC:
        return "public"
    if spec.resident:
        return "resident"
    return "shared" if spec.dtype.is_floating_point else "client"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _plan_json(plan: Plan) -> dict[str, Any]:
    return {"offline_bytes": plan.offline_bytes, "steps": [step.to_json() for step in plan.steps]}


def _manifest(program: Program, description: Mapping[str, Any], written: Rehearsed, options: Options) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "versions": {name: version(name) for name in ("mpccompile", "torch", "crypten")},
        "name": program.name,
        "options": asdict(options),
        "program": description,
        "inputs": [_input_json(spec) for spec in program.inputs],
        "output": asdict(program.output),
        "statements": [asdict(statement) for statement in written.emitted.statements],
        "traffic": [[row.line, *row.bytes_sent, row.rounds] for row in written.plan.traffic],
        "work": [list(astuple(row)) for row in written.plan.work],
        "offline_bytes": written.plan.offline_bytes,
        "rounds": None if written.rounds is None else asdict(written.rounds),
        "passes": [_record_json(record) for record in program.history],
    }


def _record_json(record: PassRecord) -> dict[str, Any]:
    """Return a record without its graphs, which have a file of their own, and without its time, which changes."""
    values = asdict(replace(record, before=(), after=(), became=(), why=(), seconds=0.0))
    return {name: value for name, value in values.items() if name not in ("before", "after", "became", "why")}


def _input_json(spec: InputSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "shape": list(spec.shape),
        "dtype": _name(spec.dtype),
        "secrecy": spec.secrecy.value,
        "limit": spec.limit,
        "resident": spec.resident,
        "table_rows": spec.table_rows,
    }


def _package(folder: Path, manifest: Mapping[str, Any]) -> Package:
    try:
        inputs = tuple(
            InputSpec(
                row["name"],
                tuple(row["shape"]),
                getattr(torch, row["dtype"]),
                Secrecy(row["secrecy"]),
                row["limit"],
                row["resident"],
                row["table_rows"],
            )
            for row in manifest["inputs"]
        )
        output = manifest["output"]
        resident = tuple((name, limit) for name, limit in output["resident"])
        statements = tuple(Statement(**{**row, "shape": tuple(row["shape"])}) for row in manifest["statements"])
        traffic = tuple(Traffic(line, (one, two), rounds) for line, one, two, rounds in manifest["traffic"])
        work = tuple(Work(*row) for row in manifest["work"])
        texts = ("skipped", "replaced")
        history = tuple(
            PassRecord(**{**row, **{name: tuple(row[name]) for name in texts}}) for row in manifest["passes"]
        )
        return Package(
            folder,
            inputs,
            OutputSpec(output["kind"], tuple(output["keys"]), output["class_path"], resident),
            statements,
            traffic,
            work,
            manifest["offline_bytes"],
            Options.merged(None, manifest["options"]),
            history,
            manifest["name"],
            None if manifest.get("rounds") is None else Rounds(**manifest["rounds"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PackageError(f"manifest.json is damaged ({error})", where=str(folder), hint="Compile again.") from error


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
