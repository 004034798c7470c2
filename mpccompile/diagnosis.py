"""Which pass breaks a model, and at which operation: every pass is run by itself and held to the captured model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

import torch

from mpccompile import compiler
from mpccompile.codegen.graphs import CAPTURED, stage_names
from mpccompile.errors import MpcCompileError
from mpccompile.ir.differences import Values, first_difference, first_failure, relative_error, values_of
from mpccompile.ir.program import Program, origin_of
from mpccompile.ir.secrecy import infer
from mpccompile.ir.text import line_of, name_of
from mpccompile.ir.verify import verify
from mpccompile.passes.driver import TOLERANCE, run_passes

if TYPE_CHECKING:
    from torch import Tensor, fx, nn

    from mpccompile.compiler import Pass
    from mpccompile.ir.differences import Difference
    from mpccompile.options import Options


@dataclass(frozen=True)
class Stage:
    """What one pass did.

    Attributes:
        name: The pass, numbered from the second time it runs; ``captured`` before all of them.
        changes: Places it changed.
        error: Largest error of an output, relative to the largest entry; None where a pass failed, or changes answers
            on purpose.
        broke: Whether the model was wrong afterwards. The next pass is given what this one was given.
    """

    name: str
    changes: int
    error: float | None
    broke: bool = False


@dataclass(frozen=True)
class Broken:
    """Where a pass breaks the model.

    Attributes:
        stage: Its stage.
        what: What is wrong.
        node: The operation whose value is wrong first, by its name in the graph after the pass; empty where it is not
            known, as where the pass failed itself.
        op: Its operation.
        module_path: The module of the model it came from.
        source: ``file.py:line`` in the model.
        error: How far its value is off, relative to the largest entry; None where there is none to compare it with.
        before: What computed the value before the pass, as graphs are printed.
        after: What computes it now.
        edited: What the pass edited and that value is computed from.
    """

    stage: str
    what: str
    node: str = ""
    op: str = ""
    module_path: str = ""
    source: str = ""
    error: float | None = None
    before: str = ""
    after: str = ""
    edited: tuple[str, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """What came of every pass.

    Attributes:
        name: The model's.
        allowed: Largest error of an output.
        stages: One for each pass, in order.
        broken: One for each pass that breaks the model, in order.
        program: What the first of them that left anything made of the model; the last program where there is none.
        drawn: The number of that one among the broken; None where the program is whole.
    """

    name: str
    allowed: float
    stages: tuple[Stage, ...]
    broken: tuple[Broken, ...]
    program: Program
    drawn: int | None = None

    def text(self) -> str:
        """Return what was found, as text that is the same for the same model and passes."""
        width = max(len(stage.name) for stage in self.stages)
        lines = [f"{self.name}: each pass is held to {self.allowed:.0e} of the model before it"]
        lines += [f"  {stage.name.ljust(width)}  {_verdict(stage)}".rstrip() for stage in self.stages]
        for each in self.broken:
            lines += ["", *_told(each)]
        if not self.broken:
            lines += ["", "No pass breaks the model."]
        return "\n".join(lines) + "\n"

    def to_json(self) -> dict[str, Any]:
        """Return what was found as JSON values."""
        return {
            "name": self.name,
            "allowed": self.allowed,
            "stages": [_plain(stage) for stage in self.stages],
            "broken": self.broken_json(),
        }

    def broken_json(self) -> list[dict[str, Any]]:
        """Return the passes that break the model as JSON values."""
        return [_plain(each) for each in self.broken]


def _plain(found: Stage | Broken) -> dict[str, Any]:
    """Return what was found as JSON values, which have no infinity."""
    values = asdict(found)
    return values | {"error": None if found.error is not None and not isfinite(found.error) else found.error}


def _verdict(stage: Stage) -> str:
    if stage.broke:
        return "BROKEN"
    if not stage.changes:
        return "ok"
    told = "1 change" if stage.changes == 1 else f"{stage.changes} changes"
    return f"ok, {told}" if stage.error is not None else f"changes answers on purpose, {told}"


def _told(broken: Broken) -> list[str]:
    lines = [f"{broken.stage} {broken.what}"]
    if broken.node:
        place = f"{broken.module_path or '<model>'} ({broken.source})" if broken.source else broken.module_path
        off = "cannot be compared" if broken.error is None else f"is off by {broken.error:.1e} of its size"
        lines += [f"  first wrong  %{broken.node} = {broken.op} at {place}: {off}"]
        lines += [f"  before       {broken.before}"] if broken.before else []
        lines += [f"  after        {broken.after}"]
    return [*lines, *(f"  edited       {text}" for text in broken.edited if text != broken.after)]


def diagnose(
    model: nn.Module,
    example_inputs: Mapping[str, Tensor] | Sequence[Tensor],
    options: Options,
    passes: Sequence[Pass] | None = None,
) -> Diagnosis:
    """Run every pass of a compilation and find those that break the model.

    A pass that does is left out for what follows, so that each is judged by itself.

    Args:
        model: The model; it is not changed.
        example_inputs: Inputs to capture and compare with.
        options: What to compile for.
        passes: More passes after the exact ones.
    """
    program = compiler.lowered(model, example_inputs, options)
    gap = _largest_gap(program)
    stages = [Stage(CAPTURED, 0, gap, gap > TOLERANCE)]
    broken = [Broken(CAPTURED, f"is off by {gap:.1e} of the model's own outputs")] if gap > TOLERANCE else []
    chosen = compiler.stages_of(options, passes or ())
    names = stage_names([each.__name__ for each, _exact in chosen])
    shown: tuple[Program, int] | None = None
    for name, (each, exact) in zip(names, chosen, strict=True):
        trial = _Trial(name, each, exact, program, values_of(program))
        after, found = trial.run()
        changes = after.history[-1].changes if after is not None else 0
        error = _largest_gap(after) if exact and after is not None else None
        stages.append(Stage(name, changes, error, found is not None))
        if found is not None:
            broken.append(found)
            shown = shown or (None if after is None else (after, len(broken) - 1))
        elif after is not None:
            program = after
    left, drawn = shown or (program, None)
    return Diagnosis(left.name, TOLERANCE, tuple(stages), tuple(broken), left, drawn)


@dataclass(frozen=True)
class _Trial:
    """One pass, the program it is given, and that program's values: a pass may spoil what it is given."""

    name: str
    each: Pass
    exact: bool
    before: Program
    values: Values

    def run(self) -> tuple[Program | None, Broken | None]:
        """Return what the pass makes of the program, None if nothing, and how it breaks it, None if it does not."""
        text = {node.name: _line(self.before, node) for node in self.before.graph.nodes if node.op == "call_function"}
        try:
            after = run_passes(self.before, [self.each], check=False, exact=self.exact)
            verify(after)
        except MpcCompileError as error:
            return None, Broken(self.name, f"failed: {error}")
        except Exception as error:  # noqa: BLE001 - whatever a broken graph raises is what is looked for
            return None, Broken(self.name, f"broke the graph: {type(error).__name__}: {error}")
        wrong = {index: gap for index, gap in enumerate(_gaps(after)) if gap > TOLERANCE}
        failure = first_failure(self.before, after) if inf in wrong.values() else None
        if failure is not None:
            place, said = failure
            return after, self._located(f"broke the graph: {said}", after, place, text)
        if not wrong or not self.exact:
            return after, None
        worst = max(wrong, key=lambda index: wrong[index])
        found = first_difference(self.before, after, self.values, wrong, TOLERANCE)
        what = f"changed the output {after.output.keys[worst]} by {wrong[worst]:.1e} of its size"
        return after, self._located(what, after, found, text)

    def _located(self, what: str, after: Program, found: Difference | None, text: Mapping[str, str]) -> Broken:
        if found is None:
            return Broken(self.name, what)
        origin = origin_of(found.node)
        return Broken(
            self.name,
            what,
            found.node.name,
            name_of(found.node.target),
            origin.module_path,
            origin.source,
            found.error if found.was else None,
            text.get(found.was, ""),
            _line(after, found.node),
            tuple(_line(after, node) for node in found.edited),
        )


def _line(program: Program, node: fx.Node) -> str:
    return line_of(node, infer(program)[node])


def _largest_gap(program: Program) -> float:
    return max(_gaps(program), default=0.0)


def _gaps(program: Program) -> list[float]:
    try:
        with torch.no_grad():
            answers = program.module(*program.example_inputs)
    except Exception:  # noqa: BLE001 - whatever a broken graph raises is what is looked for
        return [inf for _ in program.reference]
    return [relative_error(answer, known) for answer, known in zip(answers, program.reference, strict=True)]
