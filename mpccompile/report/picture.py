"""Everything that a picture of a package shows, as JSON values: statements, modules, source, passes, graphs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mpccompile.errors import InputError
from mpccompile.ir.network import LAN, LOOPBACK, WAN, Network
from mpccompile.report.graph import graph
from mpccompile.runtime.plan import Traffic
from mpccompile.runtime.program import OUTPUT_LINE

if TYPE_CHECKING:
    from mpccompile.codegen.graphs import Graphs
    from mpccompile.codegen.package import Package
    from mpccompile.ir.program import PassRecord
    from mpccompile.ir.snapshot import Seen
    from mpccompile.runtime.plan import Work

NETWORKS = (LAN, WAN)
PLACES = (LOOPBACK, *NETWORKS)
Json = dict[str, Any]


def picture(
    package: Package, source: str, graphs: Graphs | None = None, profile: Mapping[str, Any] | None = None
) -> Json:
    """Return what there is to show of a package.

    Args:
        package: The package.
        source: Its ``model.py``.
        graphs: Its graphs after each pass, where they are known.
        profile: What ``mpccompile profile --json`` printed, for measured seconds.

    Returns:
        JSON values. Bytes are those of one call, sent by (rank 0, rank 1); ``predicted`` is the seconds that they, the
        rounds and a party's computing take once the randomness is there, on this machine alone and on each network. Of
        stock CrypTen nothing is known before it runs: ``predicted`` is None, and so are bytes and rounds unless a
        profile has them.

    Raises:
        InputError: If the profile is no profile, or one of another package.
    """
    seconds = _seconds(package, profile)
    known = _known(package, profile)
    statements = _statements(package, graphs, seconds, known)
    output = _cost(OUTPUT_LINE, known)
    offline = package.offline_bytes if known.foreseen else None if profile is None else profile["offline_bytes"]
    return {
        "name": package.name,
        "target": package.options.target,
        "inputs": [_input(spec) for spec in package.inputs],
        "networks": {each.name: _line(each) for each in NETWORKS},
        "statements": statements,
        "output": output,
        "total": {**_total([*statements, output], package), "offline_bytes": offline},
        "measured": None if profile is None else profile["online_seconds"],
        "modules": _modules(statements),
        "source": source.splitlines(),
        "passes": [_pass(record, known) for record in package.history],
        "graph": None if graphs is None else graph(graphs, estimated=known.foreseen),
    }


def _input(spec: Any) -> Json:
    dtype = str(spec.dtype).removeprefix("torch.")
    return {"name": spec.name, "shape": list(spec.shape), "dtype": dtype, "secrecy": spec.secrecy.value}


def _line(network: Network) -> Json:
    return {"round_seconds": network.waiting(1), "bytes_per_second": network.bytes_per_second}


@dataclass(frozen=True)
class _Known:
    """What is known of each line of the program.

    Attributes:
        traffic: Its messages; None where they are not known.
        work: Its computing.
        foreseen: Whether the compiler knows both before the program runs.
    """

    traffic: Mapping[int, Traffic] | None
    work: Mapping[int, Work]
    foreseen: bool


def _known(package: Package, profile: Mapping[str, Any] | None) -> _Known:
    if package.options.target != "crypten":
        return _Known({row.line: row for row in package.traffic}, {row.line: row for row in package.work}, True)
    if profile is None:
        return _Known(None, {}, False)
    lines = [*(each.line for each in package.statements), OUTPUT_LINE]
    return _Known({line: _sent(line, row) for line, row in zip(lines, profile["rows"], strict=True)}, {}, False)


def _sent(line: int, row: Mapping[str, Any]) -> Traffic:
    """Return what a row of a profile says that a statement sent."""
    one, two = row["bytes_sent"]
    return Traffic(line, (int(one), int(two)), int(row["rounds"]))


def _cost(line: int, known: _Known) -> Json:
    if known.traffic is None:
        return {"bytes": None, "rounds": None, "predicted": None}
    traffic = [known.traffic[line]] if line in known.traffic else []
    work = [known.work[line]] if line in known.work else []
    sent, rounds = (traffic[0].bytes_sent, traffic[0].rounds) if traffic else ((0, 0), 0)
    predicted = {each.name: each.online_seconds(traffic, work) for each in PLACES} if known.foreseen else None
    return {"bytes": list(sent), "rounds": rounds, "predicted": predicted}


def _sums(rows: Sequence[Json]) -> Json:
    """Return what several statements cost together; None for what is not known of them."""
    if any(row["bytes"] is None for row in rows):
        return {"bytes": None, "rounds": None, "predicted": None}
    foreseen = all(row["predicted"] is not None for row in rows)
    return {
        "bytes": [sum(row["bytes"][rank] for row in rows) for rank in (0, 1)],
        "rounds": sum(row["rounds"] for row in rows),
        "predicted": {each.name: sum(row["predicted"][each.name] for row in rows) for each in PLACES}
        if foreseen
        else None,
    }


def _total(rows: Sequence[Json], package: Package) -> Json:
    return {
        "statements": len(package.statements),
        **_sums(rows),
        "chain": None if package.rounds is None else asdict(package.rounds),
    }


def _statements(package: Package, graphs: Graphs | None, seconds: Sequence[float | None], known: _Known) -> list[Json]:
    last: dict[int, Seen] = {}
    if graphs is not None:
        seen = {row.name: row for row in tuple(graphs.stages.values())[-1]}
        last = {line: seen[name] for name, line in graphs.lines.items() if name in seen}
    chain = set() if graphs is None else set(graphs.chain)
    rows = []
    for statement, spent in zip(package.statements, seconds, strict=True):
        value = last.get(statement.line)
        rows.append(
            {
                "line": statement.line,
                "op": statement.op,
                "variable": statement.node,
                "module": statement.module_path,
                "source": statement.source,
                "shape": list(statement.shape),
                "seconds": spent,
                "node": None if value is None else value.name,
                "secret": None if value is None else value.secret,
                "critical": value is not None and value.name in chain,
                **_cost(statement.line, known),
            }
        )
    return rows


def _seconds(package: Package, profile: Mapping[str, Any] | None) -> list[float | None]:
    """Return what each statement took, from a profile's rows: one a statement, and one for the outputs."""
    if profile is None:
        return [None] * len(package.statements)
    try:
        rows = [(row["op"], row["module_path"], float(row["seconds"])) for row in profile["rows"]]
        for row in profile["rows"]:
            _sent(0, row)
        float(profile["online_seconds"])
        int(profile["offline_bytes"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError("this is no profile", hint="Make one with: mpccompile profile FOLDER --json.") from error
    if [row[:2] for row in rows[:-1]] != [(each.op, each.module_path) for each in package.statements]:
        raise InputError("this is the profile of another package", hint="Profile this one again.")
    return [row[2] for row in rows[:-1]]


@dataclass(frozen=True)
class _Module:
    """A module of the user's model and what is in it; costs are those of everything below it too."""

    name: str
    path: str
    children: dict[str, _Module]
    own: list[int]

    def to_json(self, statements: Sequence[Json]) -> Json:
        rows = [statements[index] for index in self.all()]
        spent = [row["seconds"] for row in rows]
        return {
            "name": self.name,
            "path": self.path,
            "count": len(rows),
            **_sums(rows),
            "seconds": None if None in spent else sum(spent),
            "critical": any(row["critical"] for row in rows),
            "own": self.own,
            "children": [child.to_json(statements) for child in self.children.values()],
        }

    def all(self) -> Iterator[int]:
        yield from self.own
        for child in self.children.values():
            yield from child.all()


def _modules(statements: Sequence[Json]) -> Json:
    """Return the modules as a tree, in the order of the program, statements by their number."""
    root = _Module("", "", {}, [])
    for index, row in enumerate(statements):
        here = root
        for part in filter(None, row["module"].split(".")):
            path = f"{here.path}.{part}" if here.path else part
            here = here.children.setdefault(part, _Module(part, path, {}, []))
        here.own.append(index)
    return root.to_json(statements)


def _pass(record: PassRecord, known: _Known) -> Json:
    sent, rounds = (record.online_bytes_before, record.online_bytes_after), (record.rounds_before, record.rounds_after)
    return {
        "name": record.name,
        "reason": record.reason,
        "changes": record.changes,
        "nodes": [record.nodes_before, record.nodes_after],
        "bytes": list(sent) if known.foreseen else [None, None],
        "rounds": list(rounds) if known.foreseen else [None, None],
        "replaced": list(record.replaced),
        "skipped": list(record.skipped),
    }
