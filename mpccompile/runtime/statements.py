"""The statements of a generated program: protocols that run alone, or side by side, each booked on its own line."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, ParamSpec, TypeVar

from mpccompile.runtime.party import Party, Protocol, current, drive, together

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Steps(Generic[R]):
    """A protocol that has not begun, and the line of the generated program that it stands on."""

    line: int
    protocol: Protocol[R]

    def booked(self, party: Party) -> Protocol[R]:
        """Run the protocol so that its traffic, its time and the checks it registers carry its line."""
        reply: Any = None
        while True:
            party.ledger.line = self.line
            started = time.perf_counter()
            try:
                request = next(self.protocol) if reply is None else self.protocol.send(reply)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            finally:
                party.spend(self.line, started)
            reply = yield tuple(replace(opening, line=self.line) for opening in request)


class PrivateFunction(Generic[P, R]):
    """A function of the generated program: called it runs alone, its ``steps`` run beside those of others."""

    def __init__(self, protocol: Callable[P, Protocol[R]]) -> None:
        self._protocol = protocol
        functools.update_wrapper(self, protocol)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the protocol to its end."""
        return drive(Steps(_line(), self._protocol(*args, **kwargs)).booked(current()))

    def steps(self, *args: P.args, **kwargs: P.kwargs) -> Steps[R]:
        """Return the protocol without running it, for :func:`side_by_side`."""
        return Steps(_line(), self._protocol(*args, **kwargs))


def private_function(protocol: Callable[P, Protocol[R]]) -> PrivateFunction[P, R]:
    """Turn a protocol into a function of the generated program; traffic is booked on the caller's line."""
    return PrivateFunction(protocol)


def _line() -> int:
    """Return the line that called the function which asks."""
    return sys._getframe(2).f_lineno  # noqa: SLF001 - documented, for all its name


def side_by_side(*statements: Steps[Any]) -> tuple[Any, ...]:
    """Run statements that do not need each other's results: what they open at the same step is one message.

    A shared round is booked on the first statement that waits in it.
    """
    party = current()
    return drive(together(*(statement.booked(party) for statement in statements)))
