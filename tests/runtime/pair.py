"""Two parties in two threads with a dealer, for protocol tests."""

from __future__ import annotations

import queue
import secrets
import threading
from collections.abc import Callable
from typing import Any

import torch

from mpccompile.runtime import offline, ring
from mpccompile.runtime.party import LiveParty, PlanningParty, activate, drive
from mpccompile.runtime.plan import Plan
from mpccompile.runtime.shared import ClientValue, Shared, StaticWeight

CPU = torch.device("cpu")


class QueueChannel:
    """An in-memory exchange that remembers what went over it."""

    def __init__(self, inbox: queue.Queue[Any], outbox: queue.Queue[Any]) -> None:
        self.inbox, self.outbox = inbox, outbox
        self.sent: list[torch.Tensor] = []

    def exchange(self, message: torch.Tensor, expected_bytes: int) -> torch.Tensor:
        self.sent.append(message)
        self.outbox.put(message)
        reply = self.inbox.get(timeout=60)
        if isinstance(reply, BaseException):
            raise reply
        assert reply.numel() == expected_bytes
        return reply


def share(x: torch.Tensor, frac_bits: int = 16) -> tuple[Shared, Shared]:
    """Split a float tensor (or, with frac_bits 0, an integer one) into two sharings."""
    value = ring.encode(x, frac_bits) if x.is_floating_point() else x
    mask = torch.randint(-(2**63), 2**63 - 1, value.shape, dtype=torch.int64)
    return Shared(value - mask, frac_bits), Shared(mask, frac_bits)


def both(value: Any, rank: int, *, planning: bool = False) -> Any:
    if planning:
        if isinstance(value, tuple) and isinstance(value[0], Shared):
            return Shared(value[0].share.to("meta"), value[0].frac_bits)
        if isinstance(value, StaticWeight):
            return StaticWeight(value.name, value.plain.to("meta"), value.frac_bits)
        if isinstance(value, ClientValue):
            return ClientValue(value.plain.to("meta"))
        return value.to("meta") if isinstance(value, torch.Tensor) else value
    if isinstance(value, tuple) and isinstance(value[0], Shared):
        return Shared(value[rank].share, value[rank].frac_bits)
    return value


def run_pair(protocol: Callable[..., Any], *args: Any, frac_bits: int = 16) -> tuple[Any, Plan, list[QueueChannel]]:
    """Plan, deal and run ``protocol(*args)`` in two parties; return both results, the plan and the channels."""
    planner = PlanningParty(frac_bits)
    activate(planner)
    drive(protocol(*(both(arg, 0, planning=True) for arg in args)))
    activate(None)
    plan = planner.plan()
    weights = {arg.name: arg for arg in args if isinstance(arg, StaticWeight)}
    seeds = (secrets.token_bytes(32), secrets.token_bytes(32))
    corrections: queue.Queue[torch.Tensor] = queue.Queue()
    shapes = {name: weight.shape for name, weight in weights.items()}
    offline.Dealer(seeds, shapes, CPU).deal(plan, 0, corrections.put)
    one, two = queue.Queue(), queue.Queue()
    channels = [QueueChannel(one, two), QueueChannel(two, one)]
    results: list[Any] = [None, None]

    def party(rank: int) -> None:
        own = weights
        if rank == 1:
            own = {
                name: StaticWeight(
                    name, weight.plain - offline.weight_mask(seeds[0], name, weight.shape), weight.frac_bits
                )
                for name, weight in weights.items()
            }
        try:
            pool = offline.prepare_pool(plan, 0, rank, seeds[rank], own, lambda _n: corrections.get(timeout=60), CPU)
            live = LiveParty(rank, CPU, frac_bits, channels[rank], b"c" * 32)
            live.begin(pool)
            activate(live)
            mine = [both(arg, rank) for arg in args]
            mine = [
                StaticWeight(a.name, a.plain if rank == 0 else torch.zeros_like(a.plain), a.frac_bits)
                if isinstance(a, StaticWeight)
                else a
                for a in mine
            ]
            results[rank] = drive(protocol(*mine))
            assert live.ledger.traffic() == plan.traffic
        except BaseException as error:  # noqa: BLE001 - handed to the main thread
            results[rank] = error
            channels[rank].outbox.put(error)

    threads = [threading.Thread(target=party, args=(rank,)) for rank in (0, 1)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results, plan, channels


def opened(results: list[Shared]) -> torch.Tensor:
    """Reconstruct a result."""
    assert results[0].frac_bits == results[1].frac_bits
    return ring.decode(results[0].share + results[1].share, results[0].frac_bits)
