"""Dry runs of a program, to find what its statements send and which of them had better run side by side."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mpccompile.codegen.arrange import Costs, Item, Sent, one_by_one, side_by_side
from mpccompile.codegen.emit import Emitted, emit
from mpccompile.passes.schedule_rounds import critical_path
from mpccompile.runtime.program import OUTPUT_LINE, ProgramDescription, load_class, make_plan

if TYPE_CHECKING:
    from torch import Tensor

    from mpccompile.codegen.ranges import Site
    from mpccompile.ir.program import Program
    from mpccompile.runtime.plan import Plan


@dataclass(frozen=True)
class Rounds:
    """How long a call waits, in rounds, besides what it does.

    Attributes:
        one_by_one: If no statement ran beside another.
        longest_chain: On the critical path of statements that wait for each other, each at what it takes alone.
    """

    one_by_one: int
    longest_chain: int


@dataclass(frozen=True)
class Rehearsed:
    """A program as it will be written, and what is known of a call before it is made."""

    emitted: Emitted
    plan: Plan
    rounds: Rounds | None
    chain: tuple[str, ...] = ()
    """Nodes on the critical path of rounds, first to last."""


class _Stage:
    """Runs texts of one program on shapes alone, each once."""

    def __init__(
        self,
        program: Program,
        sites: Mapping[str, Site],
        description: ProgramDescription,
        constants: Mapping[str, Tensor],
    ) -> None:
        self._program, self._sites = program, sites
        self._description, self._constants = description, constants
        self._known: dict[tuple[Item, ...], tuple[Emitted, Plan]] = {}

    def plan(self, items: Sequence[Item]) -> tuple[Emitted, Plan]:
        """Return the text and the plan of a program with its nodes written in this order."""
        key = tuple(items)
        if key not in self._known:
            self._known[key] = self._run(items)
        return self._known[key]

    def _run(self, items: Sequence[Item]) -> tuple[Emitted, Plan]:
        emitted = emit(self._program, self._sites, items)
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "model.py"
            source.write_text(emitted.source, encoding="utf-8")
            model = load_class(source, emitted.class_name)
        return emitted, make_plan(model, self._description, self._constants)

    def costs(self, items: Sequence[Item]) -> Costs:
        """Return what the statements cost in this order, and the verdict and the outputs as the graph's output."""
        emitted, plan = self.plan(items)
        lines = {**emitted.lines, self._program.graph.output_node().name: OUTPUT_LINE}
        traffic = {row.line: row for row in plan.traffic}
        found = {name: traffic[line] for name, line in lines.items() if line in traffic}
        return {name: Sent(sum(row.bytes_sent), row.rounds) for name, row in found.items()}


def rehearse(
    program: Program, sites: Mapping[str, Site], description: ProgramDescription, constants: Mapping[str, Tensor]
) -> Rehearsed:
    """Choose which statements run side by side, and return the program's text and its plan.

    Args:
        program: A lowered program, in the order of its levels.
        sites: Calibrated arguments by node name.
        description: Its inputs and weights.
        constants: Its public tensors.
    """
    stage = _Stage(program, sites, description, constants)
    alone = stage.costs(one_by_one(program.graph))
    rounds = {name: sent.rounds for name, sent in alone.items()}
    path, chain = critical_path(program, rounds)
    items = side_by_side(program.graph, stage.costs, alone)
    _, plan = stage.plan(items)
    known = Rounds(sum(rounds.values()), chain)
    emitted = emit(program, sites, items, {row.line: row for row in plan.traffic})
    return Rehearsed(emitted, plan, known, tuple(path))
