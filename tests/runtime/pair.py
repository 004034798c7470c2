"""Two parties in two threads with a dealer, for protocol tests."""

from __future__ import annotations

import inspect
import queue
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mpccompile.runtime import offline, ring
from mpccompile.runtime.party import LiveParty, Opening, PlanningParty, Truncation, activate, drive
from mpccompile.runtime.plan import Plan, Step
from mpccompile.runtime.prg import Prg
from mpccompile.runtime.shared import ClientValue, Mask, Shared, StaticWeight

CPU = torch.device("cpu")
PATIENCE = 60
"""Seconds a thread waits for the other one before the test fails instead of hanging."""

Protocol = Callable[..., Any]


class QueueChannel:
    """An in-memory exchange that remembers what went over it."""

    def __init__(self, inbox: queue.Queue[Any], outbox: queue.Queue[Any]) -> None:
        self.inbox, self.outbox = inbox, outbox
        self.sent: list[torch.Tensor] = []

    def exchange(self, message: torch.Tensor, expected_bytes: int) -> torch.Tensor:
        assert message.dtype == torch.uint8
        self.sent.append(message)
        self.outbox.put(message)
        reply = self.inbox.get(timeout=PATIENCE)
        if isinstance(reply, BaseException):
            raise reply
        assert reply.numel() == expected_bytes
        return reply

    @property
    def bytes_sent(self) -> int:
        return sum(message.numel() for message in self.sent)


class WatchedParty(LiveParty):
    """A party that remembers what it drew, what it opened and what came out."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.drawn: list[tuple[Step, Mask]] = []
        self.openings: list[Opening] = []
        self.opened: list[torch.Tensor] = []

    def draw(self, step: Step) -> Mask:
        mask = super().draw(step)
        self.drawn.append((step, mask))
        return mask

    def open(self, openings: tuple[Opening, ...]) -> tuple[torch.Tensor, ...]:
        results = super().open(openings)
        self.openings.extend(openings)
        self.opened.extend(results)
        return results


@dataclass(frozen=True)
class Call:
    """Everything one call of a protocol left behind."""

    results: list[Any]
    plan: Plan
    channels: list[QueueChannel]
    parties: list[WatchedParty]
    corrections: list[torch.Tensor]


def share(x: torch.Tensor, frac_bits: int = 16) -> tuple[Shared, Shared]:
    """Split a float tensor, or an integer one that is fixed point already, into two sharings."""
    value = ring.encode(x, frac_bits) if x.is_floating_point() else x
    mask = random_words(value.shape)
    return Shared(value - mask, frac_bits), Shared(mask, frac_bits)


def random_words(shape: Sequence[int]) -> torch.Tensor:
    """Return words uniform over all of int64, from torch's generator."""
    high, low = torch.randint(0, 2**32, (2, *shape))
    return (high << 32) | low


def both(value: Any, rank: int, *, planning: bool = False) -> Any:
    """Return what the party of ``rank`` holds of an argument, or its shape for planning."""
    if isinstance(value, list):
        return [both(item, rank, planning=planning) for item in value]
    if isinstance(value, tuple) and isinstance(value[0], Shared):
        held = value[rank]
        return Shared(held.share.to("meta") if planning else held.share, held.frac_bits, bits=held.bits)
    if isinstance(value, StaticWeight):
        if planning:
            return StaticWeight(value.name, value.plain.to("meta"), value.frac_bits)
        plain = value.plain if rank == 0 else torch.zeros_like(value.plain)
        return StaticWeight(value.name, plain, value.frac_bits)
    if isinstance(value, ClientValue):
        plain = value.plain if rank == 1 else torch.zeros_like(value.plain)
        return ClientValue(plain.to("meta") if planning else plain)
    return value.to("meta") if planning and isinstance(value, torch.Tensor) else value


def run_to_end(protocol: Protocol, args: Sequence[Any]) -> Any:
    """Run a protocol, or a program of calls of private functions, in the active party."""
    outcome = protocol(*args)
    return drive(outcome) if inspect.isgenerator(outcome) else outcome


def plan_of(protocol: Protocol, *args: Any, frac_bits: int = 16, truncation: Truncation = "exact") -> Plan:
    """Record the plan of ``protocol(*args)``."""
    planner = PlanningParty(frac_bits, truncation)
    activate(planner)
    try:
        run_to_end(protocol, [both(arg, 0, planning=True) for arg in args])
    finally:
        activate(None)
    return planner.plan()


def weights_among(args: Sequence[Any]) -> dict[str, StaticWeight]:
    """Return the static weights of an argument list by name."""
    return {arg.name: arg for arg in args if isinstance(arg, StaticWeight)}


def deal(plan: Plan, seeds: tuple[bytes, bytes], weights: dict[str, StaticWeight], call: int = 0) -> list[torch.Tensor]:
    """Return the corrections the dealer sends to rank 1."""
    corrections: list[torch.Tensor] = []
    shapes = {name: weight.shape for name, weight in weights.items()}
    offline.Dealer(seeds, shapes, CPU).deal(plan, call, corrections.append)
    return corrections


def fresh_seeds() -> tuple[bytes, bytes]:
    return secrets.token_bytes(32), secrets.token_bytes(32)


def pool_of(
    plan: Plan,
    rank: int,
    seeds: tuple[bytes, bytes],
    weights: dict[str, StaticWeight],
    corrections: Sequence[torch.Tensor],
    call: int = 0,
) -> Any:
    """Return the pool of one party."""
    if rank == 1:
        weights = {
            name: StaticWeight(name, weight.plain - offline.weight_mask(seeds[0], name, weight.shape), weight.frac_bits)
            for name, weight in weights.items()
        }
    arrived = iter(corrections)

    def receive(size: int) -> torch.Tensor:
        correction = next(arrived)
        assert correction.numel() == size
        return correction

    return offline.prepare_pool(plan, Prg(seeds[rank]).spawn(f"call {call}"), rank, weights, receive, CPU)


def run_call(
    protocol: Protocol,
    *args: Any,
    frac_bits: int = 16,
    seeds: tuple[bytes, bytes] | None = None,
    call: int = 0,
    plan: Plan | None = None,
    truncation: Truncation = "exact",
) -> Call:
    """Plan, deal and run ``protocol(*args)`` in two parties.

    Args:
        protocol: A generator function, or a function that calls private functions.
        args: Pairs from :func:`share`, static weights, client values and public values.
        frac_bits: Fractional bits of the program.
        seeds: The dealer's seeds; fresh ones by default.
        call: Number of the call in its session.
        plan: The plan, where it has been recorded before.
        truncation: How the parties truncate.

    Raises:
        BaseException: Whatever a party raised.
    """
    plan = plan or plan_of(protocol, *args, frac_bits=frac_bits, truncation=truncation)
    weights = weights_among(args)
    seeds = seeds or fresh_seeds()
    corrections = deal(plan, seeds, weights, call)
    one, two = queue.Queue(), queue.Queue()
    channels = [QueueChannel(one, two), QueueChannel(two, one)]
    parties = [WatchedParty(rank, CPU, frac_bits, channels[rank], b"c" * 32, truncation) for rank in (0, 1)]
    results: list[Any] = [None, None]

    def party(rank: int) -> None:
        try:
            live = parties[rank]
            live.begin(pool_of(plan, rank, seeds, weights, corrections, call))
            activate(live)
            results[rank] = run_to_end(protocol, [both(arg, rank) for arg in args])
            assert live.ledger.traffic() == plan.traffic
        except BaseException as error:  # noqa: BLE001 - handed to the main thread
            results[rank] = error
            channels[rank].outbox.put(error)

    threads = [threading.Thread(target=party, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return Call(results, plan, channels, parties, corrections)


class Prepared:
    """A protocol planned once and run many times on arguments of the same shapes."""

    def __init__(self, protocol: Protocol, *args: Any, frac_bits: int = 16) -> None:
        self.protocol, self.frac_bits = protocol, frac_bits
        self.plan = plan_of(protocol, *args, frac_bits=frac_bits)

    def run(self, *args: Any, seeds: tuple[bytes, bytes] | None = None, call: int = 0) -> Call:
        return run_call(self.protocol, *args, frac_bits=self.frac_bits, seeds=seeds, call=call, plan=self.plan)


def run_pair(protocol: Protocol, *args: Any, frac_bits: int = 16) -> tuple[Any, Plan, list[QueueChannel]]:
    """Plan, deal and run ``protocol(*args)``; return both results, the plan and the channels."""
    call = run_call(protocol, *args, frac_bits=frac_bits)
    return call.results, call.plan, call.channels


def added(results: Sequence[Shared]) -> torch.Tensor:
    """Reconstruct a result as ring elements."""
    assert results[0].frac_bits == results[1].frac_bits
    return results[0].share + results[1].share


def opened(results: Sequence[Shared]) -> torch.Tensor:
    """Reconstruct a result as numbers."""
    return ring.decode(added(results), results[0].frac_bits)


def values(results: Sequence[Shared]) -> torch.Tensor:
    """Reconstruct a result as float64, exact below 2^53 ring units."""
    return added(results).to(torch.float64) * 2.0 ** -results[0].frac_bits


def wire_values(results: Sequence[Shared], index: int = 0) -> torch.Tensor:
    """Reconstruct delta - mask of a wire, reduced to its width."""
    left, right = results[0].wires[index], results[1].wires[index]
    assert left.bits == right.bits
    assert left.frac_bits == right.frac_bits == results[0].frac_bits
    assert left.mask.key == right.mask.key
    assert torch.equal(ring.reduce(left.delta, left.bits), ring.reduce(right.delta, right.bits))
    return ring.reduce(left.delta - left.mask.share - right.mask.share, left.bits)
