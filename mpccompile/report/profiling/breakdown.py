"""A measured call taken apart: by statement, by layer and by kind of operation, beside what was predicted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from mpccompile.ir.network import LAN, LOOPBACK, WAN, Network, Seconds
from mpccompile.report.profile import OUTPUT_OP
from mpccompile.report.profiling.layers import layers_of
from mpccompile.runtime.plan import Plan
from mpccompile.runtime.program import OUTPUT_LINE
from mpccompile.runtime.timeline import WIRE

if TYPE_CHECKING:
    from mpccompile.codegen.package import Package
    from mpccompile.report.compare import Cost
    from mpccompile.report.profile import Profile
    from mpccompile.runtime.timeline import Span

NETWORKS = (LAN, WAN)
OUTPUTS = "(outputs)"
TOP_LEVEL = "(top level)"
PREDICTED = ("predicted_bytes", "predicted_rounds", "predicted_seconds")
"""What is None in JSON where nothing is predicted."""


@dataclass(frozen=True)
class Part:
    """What one statement, or a group of them, took; times are of rank 0.

    Attributes:
        name: Which.
        calls: Statements in it.
        bytes_sent: Bytes sent by (rank 0, rank 1).
        rounds: Rounds.
        computing: Seconds of everything but messages.
        wire: Seconds of messages on this machine, waiting for the other party included; 0 where it was not recorded.
        predicted_bytes: As the compiler predicted ``bytes_sent``.
        predicted_rounds: As it predicted ``rounds``.
        predicted_seconds: As it predicted :attr:`seconds`, for a machine like the one it was fitted on.
    """

    name: str
    calls: int
    bytes_sent: tuple[int, int]
    rounds: int
    computing: float
    wire: float
    predicted_bytes: tuple[int, int]
    predicted_rounds: int
    predicted_seconds: float

    @property
    def seconds(self) -> float:
        """What it took on this machine."""
        return self.computing + self.wire

    def over(self, network: Network) -> float:
        """Return the seconds that its messages would take on a network besides."""
        return network.waiting(self.rounds) + network.sending(max(self.bytes_sent))


@dataclass(frozen=True)
class Located:
    """A statement of the program, the layer it is in, and its part of the call."""

    line: int
    op: str
    module_path: str
    source: str
    shape: tuple[int, ...]
    layer: str
    part: Part


@dataclass(frozen=True)
class Breakdown:
    """One measured call.

    Attributes:
        name: The model's.
        device: Where the parties computed.
        statements: In the order of the program, the outputs last.
        layers: In the order of the program.
        operations: Slowest first.
        total: All of it.
        offline_seconds: Making the call's randomness.
        offline_bytes: What the dealer sends for it.
        peak_bytes: Most memory that (rank 0, rank 1) held.
        agrees: Whether the predicted bytes and rounds were exact; None where nothing is predicted.
        expected: What all of it, made randomness too, was predicted to take on one machine; None likewise.
        costs: Other ways to run the same model, this one first.
        spans: What each process did and when, where that was recorded.
    """

    name: str
    device: str
    statements: tuple[Located, ...]
    layers: tuple[Part, ...]
    operations: tuple[Part, ...]
    total: Part
    offline_seconds: float
    offline_bytes: int
    peak_bytes: tuple[int, int]
    agrees: bool | None
    expected: Seconds | None
    costs: tuple[Cost, ...]
    spans: tuple[Span, ...]

    def to_json(self) -> dict[str, Any]:
        """Return layers, operations and totals as JSON values, with their seconds over each network."""
        return {
            "layers": [self._part(part) for part in self.layers],
            "operations": [self._part(part) for part in self.operations],
            "total": self._part(self.total),
            "expected": None if self.expected is None else asdict(self.expected),
        }

    def _part(self, part: Part) -> dict[str, Any]:
        seconds = {"here": part.seconds, **{network.name: part.seconds + part.over(network) for network in NETWORKS}}
        row = {**asdict(part), "seconds": seconds}
        if self.agrees is None:
            row |= dict.fromkeys(PREDICTED)
        return row


def breakdown(package: Package, profile: Profile) -> Breakdown:
    """Take a profile of a package apart."""
    located = _located(package, profile)
    parts = [replace(each.part, name=each.layer) for each in located]
    operations = _grouped([each.part for each in located])
    return Breakdown(
        package.name,
        package.options.device,
        tuple(located),
        _grouped(parts),
        tuple(sorted(operations, key=lambda part: -part.seconds)),
        sum_of("total", parts),
        profile.offline_seconds,
        profile.offline_bytes,
        profile.peak_bytes,
        profile.static_agrees,
        _expected(package),
        profile.costs,
        profile.spans,
    )


def _located(package: Package, profile: Profile) -> list[Located]:
    predicted = {row.line: row for row in package.traffic}
    work = {row.line: row for row in package.work}
    wires: dict[int, float] = {}
    for span in profile.spans:
        if (span.role, span.kind) == ("0", WIRE):
            wires[span.line] = wires.get(span.line, 0.0) + span.seconds
    layers = layers_of({each.module_path for each in package.statements})
    places = [
        (each.line, each.op, each.module_path, each.source, each.shape, layers[each.module_path] or TOP_LEVEL)
        for each in package.statements
    ]
    located = []
    for place, row in zip([*places, (OUTPUT_LINE, OUTPUT_OP, "", "", (), OUTPUTS)], profile.rows, strict=True):
        # A message that several statements share waits in the first; of one too short for the clock nothing is left.
        wire = min(wires.get(place[0], 0.0), row.seconds)
        known = predicted.get(place[0])
        foreseen = ((0, 0), 0) if known is None else (known.bytes_sent, known.rounds)
        done = [work[place[0]]] if place[0] in work else []
        expected = LOOPBACK.online_seconds([] if known is None else [known], done)
        part = Part(place[1], 1, row.bytes_sent, row.rounds, row.seconds - wire, wire, *foreseen, expected)
        located.append(Located(*place, part))
    return located


def _expected(package: Package) -> Seconds | None:
    if package.options.target == "crypten":
        return None
    return LOOPBACK.seconds(Plan((), package.traffic, package.offline_bytes, package.work))


def _grouped(parts: Sequence[Part], key: Callable[[Part], str] = lambda part: part.name) -> tuple[Part, ...]:
    groups: dict[str, list[Part]] = {}
    for part in parts:
        groups.setdefault(key(part), []).append(part)
    return tuple(sum_of(name, members) for name, members in groups.items())


def sum_of(name: str, parts: Iterable[Part]) -> Part:
    """Return several parts as one."""
    members = list(parts)
    return Part(
        name,
        sum(part.calls for part in members),
        (sum(part.bytes_sent[0] for part in members), sum(part.bytes_sent[1] for part in members)),
        sum(part.rounds for part in members),
        sum(part.computing for part in members),
        sum(part.wire for part in members),
        (sum(part.predicted_bytes[0] for part in members), sum(part.predicted_bytes[1] for part in members)),
        sum(part.predicted_rounds for part in members),
        sum(part.predicted_seconds for part in members),
    )
