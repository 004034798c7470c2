"""``graphs.json``: the graph after each pass, for pictures; nothing that runs a package reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from mpccompile.ir.snapshot import Seen, Snapshot, snapshot

if TYPE_CHECKING:
    from mpccompile.codegen.rehearse import Rehearsed
    from mpccompile.ir.program import Program

FILE = "graphs.json"
CAPTURED = "captured"


@dataclass(frozen=True)
class Graphs:
    """What was compiled, stage by stage.

    Attributes:
        stages: Snapshots by name, in order: ``captured``, then each pass; a pass that runs again is ``name.2``.
        lines: Line of ``model.py`` of each call of the last stage, by its name.
        chain: Calls on the critical path of rounds, first to last.
        became: By stage, names of values that are gone, each with that of the value read in its place.
        why: By stage, what rules say of their changes, each with the names of the values it is about.
    """

    stages: Mapping[str, Snapshot]
    lines: Mapping[str, int]
    chain: tuple[str, ...]
    became: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    why: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)


def to_json(program: Program, written: Rehearsed) -> str:
    """Return a compiled program's graphs as JSON text: each different value once, and stages as lists of numbers."""
    numbers: dict[tuple[Seen, int, int], int] = {}
    stages = []
    for name, seen in _stages(program).items():
        keys = [(row, row.bytes_sent, row.rounds) for row in seen]
        stages.append([name, [numbers.setdefault(key, len(numbers)) for key in keys]])
    rows = [asdict(row) for row, _, _ in numbers]
    value = {
        "rows": rows,
        "stages": stages,
        "lines": dict(written.emitted.lines),
        "chain": list(written.chain),
        "became": _became(program),
        "why": _why(program),
    }
    return json.dumps(value, sort_keys=True, separators=(",", ":")) + "\n"


def from_json(text: str) -> Graphs:
    """Return what :func:`to_json` wrote."""
    value = json.loads(text)
    rows = [replace(Seen(**row), shape=tuple(row["shape"]), reads=tuple(row["reads"])) for row in value["rows"]]
    stages = {name: tuple(rows[number] for number in numbers) for name, numbers in value["stages"]}
    return Graphs(stages, value["lines"], tuple(value["chain"]), value.get("became", {}), value.get("why", {}))


def _stages(program: Program) -> dict[str, Snapshot]:
    history = program.history
    stages = {CAPTURED: history[0].before if history else snapshot(program)}
    for name, record in zip(stage_names([record.name for record in history]), history, strict=True):
        stages[name] = record.after
    return stages


def _became(program: Program) -> dict[str, dict[str, str]]:
    names = stage_names([record.name for record in program.history])
    return {name: dict(record.became) for name, record in zip(names, program.history, strict=True) if record.became}


def _why(program: Program) -> dict[str, dict[str, list[str]]]:
    why: dict[str, dict[str, list[str]]] = {}
    for stage, record in zip(stage_names([record.name for record in program.history]), program.history, strict=True):
        for name, sentence in record.why:
            why.setdefault(stage, {}).setdefault(sentence, []).append(name)
    return why


def stage_names(passes: list[str]) -> list[str]:
    """Return a name for the stage after each pass: its own, numbered from the second time it runs."""
    counts: dict[str, int] = {}
    names = []
    for name in passes:
        counts[name] = counts.get(name, 0) + 1
        names.append(name if counts[name] == 1 else f"{name}.{counts[name]}")
    return names
