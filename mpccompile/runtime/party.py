"""What a protocol sees of the party it runs in: correlated randomness, openings, and the clock of the program."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar
from typing import Protocol as Protocol_

import torch
from torch import Tensor

from mpccompile.errors import DealerError, MpcCompileError
from mpccompile.runtime import correlations, ring
from mpccompile.runtime.kernels import compiled
from mpccompile.runtime.plan import Plan, Step, Traffic
from mpccompile.runtime.prg import Prg
from mpccompile.runtime.shared import Mask
from mpccompile.runtime.timeline import COMPUTE, EXCHANGE, WIRE, Timeline
from mpccompile.runtime.work import work_of

R = TypeVar("R")


Truncation = Literal["exact", "local"]
"""How a product is brought back to its fractional bits; ``openings`` says what either does."""


@dataclass(frozen=True)
class Opening:
    """A masked share to be exchanged.

    Attributes:
        share: This party's share of the value.
        bits: Low bits that travel; the rest is dropped before anything is sent.
        to: ``None`` when both parties learn the sum, 0 when only rank 0 does, 1 when only rank 1 does.
        xor: Whether the shares combine by XOR.
        mask: This party's share of the mask, where ``share`` does not hold it yet; the masked value is uniform modulo
            2^bits given what is public.
        offset: A number that this party adds.
        held: Whether this party has a share; only one that learns the value may have none.
        land: Called with the opened value before any protocol goes on, so that all of them find it.
        line: Statement of the program that the opening is booked on; None for the one that runs.
    """

    share: Tensor
    bits: int
    to: int | None = None
    xor: bool = False
    mask: Tensor | None = None
    offset: int = 0
    held: bool = True
    land: Callable[[Tensor], None] | None = None
    line: int | None = None

    @property
    def masked(self) -> Tensor:
        """What this party sends, before it is packed."""
        return self.share + self.offset if self.mask is None else self.share + self.mask + self.offset

    def packed(self) -> Tensor:
        """Return the message, uint8; empty where there is no share."""
        if not self.held:
            return torch.empty(0, dtype=torch.uint8, device=self.share.device)
        if self.bits % 8 == 0 and compiled.serves(self.share):
            return compiled.pack(self.share, self.mask, self.offset, self.bits)
        return ring.pack(self.masked, self.bits)

    def combined(self, mine: Tensor, theirs: Tensor) -> Tensor:
        """Return the opened value from this party's message and the other's."""
        shape = self.share.shape
        if not self.held:
            return ring.unpack(theirs, self.bits, shape)
        if self.bits % 8 == 0 and compiled.serves(self.share):
            return compiled.combine(mine, theirs, self.bits, shape, xor=self.xor)
        one, other = ring.unpack(mine, self.bits, shape), ring.unpack(theirs, self.bits, shape)
        return one ^ other if self.xor else ring.reduce(one + other, self.bits)

    def sent_bytes(self, rank: int) -> int:
        """Return the bytes ``rank`` sends for this opening."""
        return 0 if self.to == rank else -(-self.share.numel() * self.bits // 8)


Openings = tuple[Opening, ...]
Protocol = Generator[Openings, tuple[Tensor, ...], R]


@dataclass
class Ledger:
    """Online traffic per statement of the generated program, as it happens."""

    entries: dict[int, list[int]] = field(default_factory=dict)
    line: int = 0

    def record(self, openings: Openings) -> None:
        """Count what each rank sends in one round, and the round itself on the first statement that waits in it."""
        lines = [self.line if opening.line is None else opening.line for opening in openings] or [self.line]
        for line in lines:
            self.entries.setdefault(line, [0, 0, 0])
        for line, opening in zip(lines, openings, strict=False):
            self.entries[line][0] += opening.sent_bytes(0)
            self.entries[line][1] += opening.sent_bytes(1)
        self.entries[lines[0]][2] += 1

    def traffic(self) -> tuple[Traffic, ...]:
        """Return the counts in the order the statements ran."""
        return tuple(Traffic(line, (one, two), rounds) for line, (one, two, rounds) in self.entries.items())


class Party:
    """Base of the party that plans and the party that computes.

    Attributes:
        rank: 0 owns the weights, 1 the inputs.
        device: Where shares live.
        frac_bits: Fractional bits of a value between operations.
        truncation: How values are truncated.
        timeline: Where it is written down when each thing began and ended; None where nobody wants to know.
    """

    def __init__(self, rank: int, device: torch.device, frac_bits: int, truncation: Truncation = "exact") -> None:
        self.rank = rank
        self.device = device
        self.frac_bits = frac_bits
        self.truncation = truncation
        self.ledger = Ledger()
        self.checks: list[Any] = []
        self.deferred: list[tuple[int, Any]] = []
        self.seconds: dict[int, float] = {}
        self.timeline: Timeline | None = None

    def draw(self, step: Step) -> Mask:
        """Return this party's share of the next step of the offline program."""
        raise NotImplementedError

    def open(self, openings: Openings) -> tuple[Tensor, ...]:
        """Exchange masked shares in one round and return the combined values, reduced."""
        raise NotImplementedError

    def truncated_alone(self, share: Tensor, drop: int) -> Tensor:
        """Return this party's share of a value truncated without a message (SecureML, IEEE S&P 2017)."""
        return share >> drop if self.rank == 0 else -(-share >> drop)

    def exchange(self, openings: Openings) -> tuple[Tensor, ...]:
        """Open in one round, and let every opened value land where others look for it."""
        started = time.perf_counter()
        opened = self.open(openings)
        for opening, value in zip(openings, opened, strict=True):
            if opening.land is not None:
                opening.land(value)
        line = openings[0].line if openings else None
        if line is not None:
            self.spend(line, started, EXCHANGE)
        elif self.timeline is not None:
            self.timeline.note(EXCHANGE, self.ledger.line, started, self.timeline.now())
        return opened

    def spend(self, line: int, started: float, kind: str = COMPUTE) -> None:
        """Book the time since ``started`` on a statement, and remember it where that is asked for."""
        ended = time.perf_counter() if self.timeline is None else self.timeline.now()
        self.seconds[line] = self.seconds.get(line, 0.0) + (ended - started)
        if self.timeline is not None:
            self.timeline.note(kind, line, started, ended)

    def public_coins(self, shape: Sequence[int]) -> Tensor:
        """Return random words that both parties know and nobody chose: coefficients of a zero test."""
        raise NotImplementedError


class PlanningParty(Party):
    """Runs the program on shapes alone and writes down the plan."""

    def __init__(self, frac_bits: int, truncation: Truncation = "exact") -> None:
        super().__init__(0, torch.device("meta"), frac_bits, truncation)
        self.steps: list[Step] = []
        self._lines: list[int] = []

    def draw(self, step: Step) -> Mask:
        """Write the step down and return a mask that has a shape only."""
        self.steps.append(step)
        self._lines.append(self.ledger.line)
        return Mask(len(self.steps) - 1, torch.empty(step.shape, dtype=torch.int64, device="meta"))

    def open(self, openings: Openings) -> tuple[Tensor, ...]:
        """Count the round and return the shapes."""
        self.ledger.record(openings)
        return tuple(opening.share for opening in openings)

    def public_coins(self, shape: Sequence[int]) -> Tensor:
        """Return the shape of the coins."""
        return torch.empty(tuple(shape), dtype=torch.int64, device="meta")

    def plan(self) -> Plan:
        """Return what was written down."""
        offline_bytes = sum(correlations.correction_bytes(step) for step in self.steps)
        return Plan(tuple(self.steps), self.ledger.traffic(), offline_bytes, work_of(self.steps, self._lines))


class Pool:
    """The shares of one call's offline program, each handed out once."""

    def __init__(self, steps: Sequence[Step], shares: list[Tensor | None]) -> None:
        self._steps = steps
        self._shares = shares
        self._next = 0

    def pop(self, step: Step) -> Mask:
        """Hand out the next share.

        Raises:
            DealerError: If the program asks for something else than the plan says, or for more than it holds.
        """
        if self._next >= len(self._steps):
            raise DealerError("the correlated randomness of this call is used up")
        if self._steps[self._next] != step:
            raise DealerError(
                f"the program asked for {step.kind} {step.shape}, its plan says {self._steps[self._next].kind}",
                hint="model.py and the plan in the package do not belong together; compile again.",
            )
        key = self._next
        share = self._shares[key]
        self._shares[key] = None
        self._next += 1
        if share is None:
            raise DealerError(f"correlated randomness {key} was already used")
        return Mask(key, share)


_active = threading.local()


def activate(party: Party | None) -> None:
    """Make ``party`` the one that protocols of this thread run in; ``None`` for none."""
    _active.party = party


def current() -> Party:
    """Return the party of this thread.

    Raises:
        MpcCompileError: If the generated program is called outside of one.
    """
    party: Party | None = getattr(_active, "party", None)
    if party is None:
        raise MpcCompileError(
            "a private program was called outside of a party", hint="Call it through mpccompile.load(folder)."
        )
    return party


def drive(protocol: Protocol[R]) -> R:
    """Run one protocol to its end, one round per request."""
    party = current()
    try:
        request = next(protocol)
        while True:
            request = protocol.send(party.exchange(request))
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


def together(*protocols: Protocol[Any]) -> Protocol[tuple[Any, ...]]:
    """Run independent protocols side by side: what they open at the same step travels in one message.

    One that asks for nothing, ``yield ()``, waits for what another one opens at this step. Protocols go on in the order
    given, so what the later one waits for was asked for by an earlier one.
    """
    results: list[Any] = [None] * len(protocols)
    pending: dict[int, Openings] = {}
    replies: dict[int, tuple[Tensor, ...] | None] = dict.fromkeys(range(len(protocols)))
    while replies:
        for index, reply in replies.items():
            try:
                pending[index] = protocols[index].send(reply) if reply is not None else next(protocols[index])
            except StopIteration as stop:
                results[index] = stop.value
        if not pending:
            break
        opened = yield tuple(opening for request in pending.values() for opening in request)
        replies, start = {}, 0
        for index, request in pending.items():
            replies[index] = opened[start : start + len(request)]
            start += len(request)
        pending = {}
    return tuple(results)


class Channel(Protocol_):
    """How a party talks to the other one."""

    def exchange(self, message: Tensor, expected_bytes: int) -> Tensor:
        """Send a uint8 tensor and return the one the other party sends in the same round."""
        ...


class LiveParty(Party):
    """Computes on real shares.

    Args:
        rank: 0 or 1.
        device: Where shares live.
        frac_bits: Fractional bits of a value between operations.
        channel: The line to the other party.
        coin_seed: Seed both parties know, for public coins.
        truncation: How values are truncated.
    """

    def __init__(
        self,
        rank: int,
        device: torch.device,
        frac_bits: int,
        channel: Channel,
        coin_seed: bytes,
        truncation: Truncation = "exact",
    ) -> None:
        super().__init__(rank, device, frac_bits, truncation)
        self._channel = channel
        self._coins = Prg(coin_seed)
        self._pool: Pool | None = None

    def begin(self, pool: Pool) -> None:
        """Start a call: its randomness, and counts from zero."""
        self._pool = pool
        self.ledger = Ledger()
        self.checks = []
        self.deferred = []
        self.seconds = {}

    def draw(self, step: Step) -> Mask:
        """Return this party's share from the pool of the call.

        Raises:
            DealerError: If no call has begun, or the pool holds something else or nothing more.
        """
        if self._pool is None:
            raise DealerError("no correlated randomness was prepared for this call")
        return self._pool.pop(step)

    def open(self, openings: Openings) -> tuple[Tensor, ...]:
        """Send this party's shares, packed in one message, and return the combined values, reduced.

        A value that only the other party learns comes back as this party's own share.

        Raises:
            PartyLost: If the other party is gone or silent.
        """
        self.ledger.record(openings)
        mine = [opening.packed() for opening in openings]
        sent = [part for opening, part in zip(openings, mine, strict=True) if opening.to != self.rank]
        message = torch.cat(sent) if sent else torch.empty(0, dtype=torch.uint8)
        expected = [opening.sent_bytes(1 - self.rank) for opening in openings]
        reply = self._cross(message, sum(expected), openings).to(self.device)
        results, start = [], 0
        for opening, part, size in zip(openings, mine, expected, strict=True):
            learns = opening.to in {None, self.rank}
            results.append(opening.combined(part, reply[start : start + size]) if learns else opening.share)
            start += size
        return tuple(results)

    def _cross(self, message: Tensor, expected_bytes: int, openings: Openings) -> Tensor:
        if self.timeline is None:
            return self._channel.exchange(message, expected_bytes)
        line = openings[0].line if openings else None
        started = self.timeline.now()
        reply = self._channel.exchange(message, expected_bytes)
        ended = self.timeline.now()
        self.timeline.note(WIRE, self.ledger.line if line is None else line, started, ended, message.numel())
        return reply

    def public_coins(self, shape: Sequence[int]) -> Tensor:
        """Return the next words of the stream that both parties have the seed of."""
        return self._coins.words(tuple(shape)).to(self.device)
