"""Run passes one after another, time them, price them and hold each to the captured model's answers."""

from __future__ import annotations

import gc
import inspect
import time
from collections.abc import Callable, Sequence

import torch

from mpccompile import debugging
from mpccompile.errors import MpcCompileError, PassFailed
from mpccompile.ir.cost import total_cost
from mpccompile.ir.differences import first_difference, first_failure, relative_error, values_of
from mpccompile.ir.edit import NOTE, EditLog
from mpccompile.ir.program import PassRecord, Program, origin_of
from mpccompile.ir.snapshot import snapshot
from mpccompile.ir.text import to_text
from mpccompile.ir.verify import verify

Pass = Callable[[Program], Program]
Observer = Callable[[Program, PassRecord], None]

TOLERANCE = 1e-5
"""Largest difference an exact pass may make, relative to the largest entry of an output (or to 1)."""

_MUCH_BYTES = 2**25
"""A graph and its module hold each other, and Python looks for such circles after so many objects, however large."""


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
    left_bytes = 0
    for each in passes:
        if left_bytes > _MUCH_BYTES:
            gc.collect()
            left_bytes = 0
        before = program
        start = time.perf_counter()
        program = apply(each, before)
        seconds = time.perf_counter() - start
        log = _log(before, program)
        if log.changes:
            _gate(each.__name__, before, program, compare=check and exact)
            program = program if exact else _with_new_reference(program)
            left_bytes += _left_bytes(before, program)
        record = _record(each, seconds, log, before, program)
        notes = {key: value for key, value in program.notes.items() if key != NOTE}
        program = program.with_changes(notes=notes, history=(*program.history, record))
        _tell(program, record)
        if observer is not None:
            observer(program, record)
    return program


def collect(program: Program) -> None:
    """Free what the earlier stages of a program with large weights have left in memory."""
    if sum(_bytes_at(program).values()) > _MUCH_BYTES:
        gc.collect()


def _left_bytes(before: Program, after: Program) -> int:
    """Return how much memory of weights a pass has no more use for."""
    kept = _bytes_at(after)
    return sum(size for place, size in _bytes_at(before).items() if place not in kept)


def _bytes_at(program: Program) -> dict[int, int]:
    weights = (*program.module.parameters(), *program.module.buffers())
    return {weight.data_ptr(): weight.nbytes for weight in weights}


def _tell(program: Program, record: PassRecord) -> None:
    told = (
        f"{record.name}: {record.changes} changes, {1e3 * record.seconds:.1f} ms,"
        f" {record.nodes_after - record.nodes_before:+d} nodes"
    )
    debugging.tell(debugging.PASSES, told)
    if record.changes and debugging.shows(debugging.GRAPHS):
        debugging.tell(debugging.GRAPHS, f"# after {told}\n{to_text(program)}")


def apply(each: Pass, program: Program) -> Program:
    """Apply one pass.

    Raises:
        PassFailed: If it raises what no user is to see.
    """
    try:
        return each(program)
    except MpcCompileError:
        raise
    except Exception as error:
        raise PassFailed(f"The pass {each.__name__} failed with {type(error).__name__}: {error}") from error


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
        why=log.why,
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
    try:
        with torch.no_grad():
            answers = after.module(*after.example_inputs)
    except Exception as error:
        raise _cannot_run(name, before, after) from error
    triples = zip(after.output.keys, answers, after.reference, strict=True)
    for index, (key, answer, reference) in enumerate(triples):
        gap = relative_error(answer, reference)
        if gap > TOLERANCE:
            found = first_difference(before, after, values_of(before), [index], TOLERANCE)
            raise PassFailed(
                f"The pass {name} changed the output {key} by {gap:.2e} of its size, {TOLERANCE:.0e} is allowed",
                where="" if found is None else str(origin_of(found.node)),
                hint="" if found is None else f"%{found.node.name} is the first value that differs.",
            )


def _cannot_run(name: str, before: Program, after: Program) -> PassFailed:
    failure = first_failure(before, after)
    if failure is None:
        return PassFailed(f"The pass {name} broke the graph: it cannot be run")
    place, said = failure
    return PassFailed(
        f"The pass {name} broke the graph: %{place.node.name} fails with {said}", where=str(origin_of(place.node))
    )
