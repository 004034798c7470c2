"""When a process did what: kept for a call only where somebody asks for it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

PREPARE = "prepare"
"""Making or taking the randomness of a call."""
CALL = "call"
"""A call, from the inputs to the outputs; everything below lies in it."""
COMPUTE = "compute"
"""What one statement does between two of its openings."""
EXCHANGE = "exchange"
"""An opening: packing, the message itself, and adding up."""
WIRE = "wire"
"""The message of an opening, there and back; it lies in an exchange, and waits for the other party too."""


@dataclass(frozen=True)
class Span:
    """What one process did for a while.

    Attributes:
        role: ``"0"``, ``"1"`` or ``"dealer"``.
        kind: :data:`PREPARE`, :data:`CALL`, :data:`COMPUTE`, :data:`EXCHANGE` or :data:`WIRE`.
        line: Line of ``model.py``; 0 for what belongs to no statement.
        begin: When it began, in seconds of the machine's monotonic clock, which its processes have in common.
        end: When it ended.
        sent: Bytes that this process sent meanwhile, of a :data:`WIRE`.
    """

    role: str
    kind: str
    line: int
    begin: float
    end: float
    sent: int = 0

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.begin

    @classmethod
    def from_json(cls, role: str, row: Sequence[Any]) -> Span:
        """Rebuild one of the rows of a :class:`Timeline`."""
        kind, line, begin, end, sent = row
        return cls(role, str(kind), int(line), float(begin), float(end), int(sent))


class Timeline:
    """Writes down what one party does.

    Args:
        device: Where it computes: what a GPU was told to do is over only when the GPU says so.
    """

    def __init__(self, device: torch.device) -> None:
        self._waits = device.type == "cuda"
        self.rows: list[tuple[str, int, float, float, int]] = []

    def now(self) -> float:
        """Return the time, once everything that was begun is done."""
        if self._waits:
            torch.cuda.synchronize()
        return time.perf_counter()

    def note(self, kind: str, line: int, begin: float, end: float, sent: int = 0) -> None:
        """Write one thing down."""
        self.rows.append((kind, line, begin, end, sent))
