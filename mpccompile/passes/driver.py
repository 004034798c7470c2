"""Run passes one after another, time them, price them and hold each to the captured model's answers."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, fx

from mpccompile.errors import PassFailed
from mpccompile.ir.cost import total_cost
from mpccompile.ir.edit import NOTE, EditLog
from mpccompile.ir.program import PassRecord, Program, origin_of
from mpccompile.ir.snapshot import snapshot
from mpccompile.ir.text import to_text
from mpccompile.ir.verify import verify

Pass = Callable[[Program], Program]
Observer = Callable[[Program, PassRecord], None]

TOLERANCE = 1e-5
"""Largest difference an exact pass may make, relative to the largest entry of an output (or to 1)."""


def run_passes(
    program: Program,
    passes: Sequence[Pass],
    *,
    check: bool = True,
    exact: bool = True,
    observer: Observer | None = None,
) -> Program:
    """Apply passes in order.

    Args:
        program: A lowered program.
        passes: Functions from program to program.
        check: Compare with the reference outputs after each pass that changed something.
        exact: Whether passes have to keep the answers; those of one that need not become the reference of the next.
        observer: Called with the program and the record after each pass.

    Returns:
        The last program, with one more record in its history for each pass.

    Raises:
        PassFailed: If a pass breaks the graph or changes what the model computes.
    """
    for each in passes:
        before = program
        start = time.perf_counter()
        program = each(before)
        seconds = time.perf_counter() - start
        log = _log(before, program)
        if log.changes:
            _gate(each.__name__, before, program, compare=check and exact)
            program = program if exact else _with_new_reference(program)
        record = _record(each, seconds, log, before, program)
        notes = {key: value for key, value in program.notes.items() if key != NOTE}
        program = program.with_changes(notes=notes, history=(*program.history, record))
        if observer is not None:
            observer(program, record)
    return program


def _log(before: Program, after: Program) -> EditLog:
    log = after.notes.get(NOTE)
    if isinstance(log, EditLog):
        return log
    gone = set(to_text(before).splitlines()) - set(to_text(after).splitlines())
    return EditLog(len(gone), ())


def _first_line(each: Pass) -> str:
    return (inspect.getdoc(each) or "").partition("\n")[0]


def _record(each: Pass, seconds: float, log: EditLog, before: Program, after: Program) -> PassRecord:
    old, new = total_cost(before), total_cost(after)
    seen = before.history[-1].after if before.history else snapshot(before)
    return PassRecord(
        name=each.__name__,
        seconds=seconds,
        changes=log.changes,
        nodes_before=len(before.graph.nodes),
        nodes_after=len(after.graph.nodes),
        skipped=log.skipped,
        replaced=log.replaced,
        reason=_first_line(each),
        online_bytes_before=old.bytes_sent,
        online_bytes_after=new.bytes_sent,
        rounds_before=old.rounds,
        rounds_after=new.rounds,
        before=seen,
        after=snapshot(after) if log.changes else seen,
        became=log.became,
    )


def _with_new_reference(program: Program) -> Program:
    with torch.no_grad():
        return program.with_changes(reference=tuple(program.module(*program.example_inputs)))


def _gate(name: str, before: Program, after: Program, *, compare: bool) -> None:
    try:
        verify(after)
    except PassFailed as error:
        raise PassFailed(f"The pass {name} broke the graph: {error.what}", where=error.where) from error
    if not compare:
        return
    with torch.no_grad():
        answers = after.module(*after.example_inputs)
    for key, answer, reference in zip(after.output.keys, answers, after.reference, strict=True):
        gap = relative_error(answer, reference)
        if gap > TOLERANCE:
            culprit = _first_difference(before, after)
            raise PassFailed(
                f"The pass {name} changed the output {key} by {gap:.2e} of its size, {TOLERANCE:.0e} is allowed",
                where=str(origin_of(culprit)) if culprit is not None else "",
                hint=f"%{culprit.name} is the first value that differs." if culprit is not None else "",
            )


def relative_error(answer: Tensor, reference: Tensor) -> float:
    """Return the largest difference, relative to the largest finite entry of the reference or to 1.

    Infinite when the shapes differ, or when one is not a number, or infinite, where the other is.
    """
    if answer.shape != reference.shape:
        return float("inf")
    if reference.numel() == 0:
        return 0.0
    same = (answer == reference) | (answer.isnan() & reference.isnan())
    gap = torch.where(same, 0.0, (answer.double() - reference.double()).abs())
    size = reference.double().abs()
    largest = float(size[size.isfinite()].max()) if bool(size.isfinite().any()) else 0.0
    worst = float(gap.nan_to_num(float("inf"), posinf=float("inf")).max())
    return worst / max(1.0, largest)


def _first_difference(before: Program, after: Program) -> fx.Node | None:
    """Find the first call after which two programs that share its name and shape differ for good.

    A call whose weights a pass scaled on purpose differs too, so what counts is the start of the last run of
    differences: every later call that both programs have differs as well.
    """
    old, new = _values(before), _values(after)
    first: fx.Node | None = None
    for node in after.graph.nodes:
        if node.name not in new or node.name not in old or new[node.name].shape != old[node.name].shape:
            continue
        if relative_error(new[node.name], old[node.name]) <= TOLERANCE:
            first = None
        elif first is None:
            first = node
    return first


def _values(program: Program) -> dict[str, Tensor]:
    values: dict[str, Tensor] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            result = super().run_node(n)
            if n.op == "call_function" and isinstance(result, Tensor):
                values[n.name] = result
            return result

    with torch.no_grad():
        Recorder(program.module).run(*program.example_inputs)
    return values
