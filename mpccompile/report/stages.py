"""What a pass did to a graph, and the same as text for terminals."""

from __future__ import annotations

import difflib
from bisect import bisect_left
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mpccompile.errors import OptionError

if TYPE_CHECKING:
    from mpccompile.codegen.graphs import Graphs
    from mpccompile.ir.snapshot import Seen, Snapshot

OPTIMISED = "optimised"
"""The last stage, whichever pass it came from."""


@dataclass(frozen=True)
class Changes:
    """What a pass made of a graph.

    Attributes:
        added: Values that are new.
        removed: Values that are gone.
        changed: Values that are computed otherwise, as they were and as they are.
        moved: The fewest of those that both graphs have that need to move to turn one order into the other.
    """

    added: tuple[Seen, ...]
    removed: tuple[Seen, ...]
    changed: tuple[tuple[Seen, Seen], ...]
    moved: int


def changes_of(before: Snapshot, after: Snapshot) -> Changes:
    """Return the values that are new, gone, or computed otherwise."""
    old, new = {row.name: row for row in before}, {row.name: row for row in after}
    kept = [name for name in new if name in old]
    places = {name: index for index, name in enumerate(old)}
    return Changes(
        tuple(row for name, row in new.items() if name not in old),
        tuple(row for name, row in old.items() if name not in new),
        tuple((old[name], new[name]) for name in kept if new[name] != old[name]),
        len(kept) - _longest_rising([places[name] for name in kept]),
    )


def _longest_rising(numbers: list[int]) -> int:
    """Return the length of the longest rising subsequence of different numbers."""
    # The smallest number that a rising subsequence of each length can end with.
    ends: list[int] = []
    for number in numbers:
        at = bisect_left(ends, number)
        ends[at : at + 1] = [number]
    return len(ends)


def stage_text(graphs: Graphs, stage: str) -> str:
    """Return the graph at a stage, a line for each value.

    Raises:
        OptionError: If there is no such stage.
    """
    return "".join(f"{row.text}\n" for row in _find(graphs, stage)[1])


def stage_diff(graphs: Graphs, stage: str) -> str:
    """Return what a pass did as a unified diff, or all passes together where the stage is ``optimised``.

    Raises:
        OptionError: If there is no such stage.
    """
    (old_name, old), (new_name, new) = _before(graphs, stage), _find(graphs, stage)
    lines = difflib.unified_diff(
        [row.text for row in old], [row.text for row in new], old_name, new_name, n=1, lineterm=""
    )
    return "".join(f"{line}\n" for line in lines)


def stage_json(graphs: Graphs, stage: str, *, diff: bool) -> dict[str, Any]:
    """Return the graph at a stage, or what its pass did, as JSON values: a row for each value.

    Raises:
        OptionError: If there is no such stage.
    """
    (old_name, old), (name, new) = _before(graphs, stage), _find(graphs, stage)
    if not diff:
        return {"stage": name, "values": [asdict(row) for row in new]}
    return {"before": old_name, "after": name, **asdict(changes_of(old, new))}


def _before(graphs: Graphs, stage: str) -> tuple[str, Snapshot]:
    names = list(graphs.stages)
    index = 0 if stage in (OPTIMISED, names[0]) else names.index(_find(graphs, stage)[0]) - 1
    return names[index], graphs.stages[names[index]]


def _find(graphs: Graphs, stage: str) -> tuple[str, Snapshot]:
    if stage == OPTIMISED:
        return OPTIMISED, tuple(graphs.stages.values())[-1]
    if stage not in graphs.stages:
        names = ", ".join([*graphs.stages, OPTIMISED])
        raise OptionError(f"there is no stage {stage!r}", hint=f"There are {names}.")
    return stage, graphs.stages[stage]
