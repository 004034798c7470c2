"""The offline program: what correlated randomness a call needs, step by step, and nothing about any input.

A plan is recorded once by running the generated program on shapes alone. The dealer and both parties then carry out
the same steps in the same order, so no request ever travels: the dealer learns shapes and options, never a share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """One piece of correlated randomness; its key is its position in the plan.

    Attributes:
        kind: What it is; ``correlations`` says which kinds there are and what they mean.
        shape: Shape of the value.
        inputs: Keys of the earlier steps it is computed from.
        params: Public parameters, as JSON values.
        weight: Name of the static weight it multiplies, or empty.
    """

    kind: str
    shape: Shape
    inputs: tuple[int, ...] = ()
    params: tuple[Any, ...] = ()
    weight: str = ""

    def to_json(self) -> list[Any]:
        """Return the step as plain JSON values."""
        return [self.kind, list(self.shape), list(self.inputs), _lists(self.params), self.weight]

    @classmethod
    def from_json(cls, row: Sequence[Any]) -> Step:
        """Rebuild a step from :meth:`to_json`."""
        kind, shape, inputs, params, weight = row
        return cls(kind, tuple(shape), tuple(inputs), _tuples(params), weight)


@dataclass(frozen=True)
class Traffic:
    """What one statement of the program sends while it runs.

    Attributes:
        line: Line of ``model.py``.
        bytes_sent: Bytes each party sends, as (rank 0, rank 1).
        rounds: Messages later work has to wait for.
    """

    line: int
    bytes_sent: tuple[int, int]
    rounds: int


@dataclass(frozen=True)
class Work:
    """How much one statement of the program makes the dealer and the parties compute.

    Attributes:
        line: Line of ``model.py``.
        steps: Pieces of correlated randomness that it uses.
        words: Numbers in those of them that are not views of others.
        products: Products of two numbers in the matrix products among them.
    """

    line: int
    steps: int
    words: int
    products: int


@dataclass(frozen=True)
class Plan:
    """Everything about a call that is known before its input is.

    Attributes:
        steps: The offline program.
        traffic: Online cost per statement, in the order run.
        offline_bytes: Bytes of corrections the dealer sends to rank 1 for one call.
        work: What there is to compute per statement, in the order run.
    """

    steps: tuple[Step, ...]
    traffic: tuple[Traffic, ...]
    offline_bytes: int
    work: tuple[Work, ...] = ()

    @property
    def last_use(self) -> tuple[int, ...]:
        """For each step, the last step that reads it (itself when none does), so that memory can be freed."""
        last = list(range(len(self.steps)))
        for key, step in enumerate(self.steps):
            for source in step.inputs:
                last[source] = key
        return tuple(last)


def _lists(value: Any) -> Any:
    return [_lists(item) for item in value] if isinstance(value, tuple | list) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, tuple | list) else value
