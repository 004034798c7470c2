"""A timeline in the Trace Event Format, which Perfetto (ui.perfetto.dev) and chrome://tracing open.

A process each for the dealer and the parties; in a party's, one track for the layers it is in, one for its statements,
and one for its messages. Times are microseconds from the first thing recorded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mpccompile.errors import InputError
from mpccompile.runtime.timeline import CALL, EXCHANGE, PREPARE, WIRE

if TYPE_CHECKING:
    from mpccompile.report.profiling.breakdown import Breakdown, Located
    from mpccompile.runtime.timeline import Span

Event = dict[str, Any]
PROCESSES = {"0": (0, "party 0"), "1": (1, "party 1"), "dealer": (2, "dealer")}
LAYERS, STATEMENTS, MESSAGES = TRACKS = (1, 2, 3)
TITLES = dict(zip(TRACKS, ("layers", "statements", "messages"), strict=True))
NAMES = {PREPARE: "randomness", CALL: "call"}


def trace(measured: Breakdown) -> dict[str, Any]:
    """Return the trace of a call as JSON values.

    Raises:
        InputError: If no timeline was recorded.
    """
    spans = recorded(measured)
    start = min(_nanoseconds(span.begin) for span in spans)
    places = {each.line: each for each in measured.statements}
    events = [_event(span, places, start) for span in spans]
    for role in ("0", "1"):
        events += _layers([span for span in spans if span.role == role], places, start)
    # What lies in another has to come after it, where both begin at once.
    events.sort(key=lambda event: (event["ts"], -event["dur"]))
    used = sorted({(event["pid"], event["tid"]) for event in events})
    other = {"model": measured.name, "device": measured.device}
    return {"traceEvents": [*_titles(used), *events], "displayTimeUnit": "ms", "otherData": other}


def recorded(measured: Breakdown) -> tuple[Span, ...]:
    """Return the spans of a call.

    Raises:
        InputError: If there are none.
    """
    if not measured.spans:
        raise InputError("no timeline was recorded", hint="Profile with timeline=True; stock CrypTen has none.")
    return measured.spans


def _nanoseconds(seconds: float) -> int:
    # Whole ones, so that rounding moves no end of a span across another's.
    return round(seconds * 1e9)


def _event(span: Span, places: dict[int, Located], start: int) -> Event:
    place = places.get(span.line)
    op = place.op if place is not None else "output"
    name = NAMES.get(span.kind, f"open {op}" if span.kind == EXCHANGE else op)
    track = MESSAGES if span.kind == WIRE else STATEMENTS
    event = _complete(name, span.kind, PROCESSES[span.role][0], track, (span.begin, span.end), start)
    if span.kind not in NAMES and place is not None:
        event["args"] = {"line": place.line, "module": place.module_path, "source": place.source}
    if span.kind == WIRE:
        event["args"] = {**event.get("args", {}), "bytes": span.sent}
    return event


def _layers(spans: Iterable[Span], places: dict[int, Located], start: int) -> list[Event]:
    """Return an event for each stretch of statements that are in one layer."""
    events: list[Event] = []
    stretch: list[Span] = []
    for span in [each for each in spans if each.kind not in (CALL, PREPARE, WIRE)]:
        if stretch and places[stretch[0].line].layer != places[span.line].layer:
            events.append(_stretch(stretch, places, start))
            stretch = []
        stretch.append(span)
    return [*events, _stretch(stretch, places, start)] if stretch else events


def _stretch(spans: list[Span], places: dict[int, Located], start: int) -> Event:
    first, last = spans[0], spans[-1]
    name = places[first.line].layer
    return _complete(name, "layer", PROCESSES[first.role][0], LAYERS, (first.begin, last.end), start)


def _complete(name: str, kind: str, process: int, track: int, times: tuple[float, float], start: int) -> Event:
    begin, end = map(_nanoseconds, times)
    place = {"pid": process, "tid": track}
    return {"name": name, "cat": kind, "ph": "X", "ts": (begin - start) / 1000, "dur": (end - begin) / 1000, **place}


def _titles(used: Iterable[tuple[int, int]]) -> list[Event]:
    names = dict(PROCESSES.values())
    titles: list[Event] = []
    for process, track in used:
        place = {"ph": "M", "pid": process, "tid": track}
        titles.append({**place, "name": "process_name", "args": {"name": names[process]}})
        titles.append({**place, "name": "thread_name", "args": {"name": TITLES[track]}})
        titles.append({**place, "name": "thread_sort_index", "args": {"sort_index": track}})
    return titles
