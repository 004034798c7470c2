"""The graph after each pass as a page draws it: each different value once, and what each pass made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import networkx as nx

from mpccompile.report.stages import changes_of

if TYPE_CHECKING:
    from mpccompile.codegen.graphs import Graphs
    from mpccompile.ir.snapshot import Seen, Snapshot
    from mpccompile.report.stages import Changes

NOT_READ = "Nothing reads it any more."
READS_ANOTHER = "It reads another value in the place of one that is gone."
COMPILED = "compiled"
"""The last stage once more, as it runs: without changes, and with the critical path that was measured."""

Json = dict[str, Any]


def graph(graphs: Graphs, *, estimated: bool = True) -> Json:
    """Return the rows of all stages, the stages as numbers of rows, and lines of ``model.py`` by name, as JSON values.

    A stage has ``rows`` in the order of the graph; what its pass ``added``, ``removed`` and ``changed`` (pairs, before
    and after), how many it ``moved``, what took the place of which (``became``, by name), and ``why``: what its rules
    say, with the names of the values it is said of; and its critical path of rounds as ``path``, from the first value
    that waits to the last. Bytes and rounds of a row are estimates, in
    ``compiled`` too: what runs stands with the statements.

    Args:
        graphs: The graphs.
        estimated: Whether the program sends what is estimated; one of stock CrypTen does not, so that bytes and rounds
            are None, and no path is critical.
    """
    numbers: dict[tuple[Seen, int, int], int] = {}

    def number(row: Seen) -> int:
        return numbers.setdefault((row, row.bytes_sent, row.rounds), len(numbers))

    def stage(name: str, before: Snapshot, after: Snapshot, path: list[str]) -> Json:
        here = {row.name: number(row) for row in after}
        changes = changes_of(before, after)
        return {
            "name": name,
            "rows": list(here.values()),
            "added": [number(row) for row in changes.added],
            "removed": [number(row) for row in changes.removed],
            "changed": [[number(old), number(new)] for old, new in changes.changed],
            "moved": changes.moved,
            "became": dict(graphs.became.get(name, {})),
            "why": reasons(changes, graphs.why.get(name, {})),
            "path": [here[each] for each in path] if estimated else [],
        }

    seen = list(graphs.stages.values())
    pairs = zip(graphs.stages, [seen[0], *seen], seen, strict=False)
    stages = [stage(name, before, after, critical_path(after)) for name, before, after in pairs]
    stages.append(stage(COMPILED, seen[-1], seen[-1], through(seen[-1], graphs.chain)))
    rows = [_row(row, estimated=estimated) for row, _, _ in numbers]
    return {"rows": rows, "stages": stages, "lines": dict(graphs.lines)}


def reasons(changes: Changes, told: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return why each value was added, removed or changed, as sentences with names; none where the pass says it all.

    Args:
        changes: What a pass did.
        told: What its rules say, with the names of the values they say it of.
    """
    said = {name: sentence for sentence, names in told.items() for name in names}
    found: dict[str, list[str]] = {}
    followed = {row.name: NOT_READ for row in changes.removed}
    followed |= {now.name: READS_ANOTHER for was, now in changes.changed if was.reads != now.reads}
    for row in (*changes.added, *changes.removed, *(now for _, now in changes.changed)):
        sentence = said.get(row.name) or followed.get(row.name)
        if sentence:
            found.setdefault(sentence, []).append(row.name)
    return found


def _row(row: Seen, *, estimated: bool) -> Json:
    return {
        "name": row.name,
        "op": row.op,
        "module": row.module_path,
        "source": row.source,
        "shape": list(row.shape),
        "secret": row.secret,
        "text": row.text,
        "reads": list(row.reads),
        "bytes": row.bytes_sent if estimated else None,
        "rounds": row.rounds if estimated else None,
    }


def critical_path(seen: Snapshot) -> list[str]:
    """Return the chain of values whose estimated rounds wait for each other the longest, from the first that waits."""
    values = _dependencies(seen)
    path = nx.dag_longest_path(values, weight="rounds")
    waiting = [index for index, name in enumerate(path) if values.nodes[name]["rounds"]]
    return path[waiting[0] : waiting[-1] + 1] if waiting else []


def through(seen: Snapshot, chain: Iterable[str]) -> list[str]:
    """Return a chain of values with what lies between them, where the next is not read directly."""
    values = _dependencies(seen)
    known = [name for name in chain if name in values]
    path = known[:1]
    for one, other in pairwise(known):
        path += nx.shortest_path(values, one, other)[1:]
    return path


def _dependencies(seen: Snapshot) -> nx.DiGraph:
    values = nx.DiGraph()
    for row in seen:
        values.add_node(row.name, rounds=row.rounds)
        values.add_edges_from(((name, row.name) for name in row.reads), rounds=row.rounds)
    return values
