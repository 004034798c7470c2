"""Truncations of the values most likely to go wrong, counted: two parties and a dealer in one process."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from mpccompile.runtime import offline
from mpccompile.runtime.openings import HEADROOM_BITS, RING_BITS, truncate
from mpccompile.runtime.party import LiveParty, PlanningParty, Protocol, activate, drive
from mpccompile.runtime.prg import Prg
from mpccompile.runtime.shared import Shared

CHUNK = 1 << 20
"""Values truncated in one call, each under masks of its own."""
CPU = torch.device("cpu")


def count_wrong(total: int, seed: int, drop: int = 16, bits: int = RING_BITS) -> int:
    """Truncate adversarial values and return how many came out more than a unit off, or off where nothing is cut.

    A quarter are extremes, where a carry, a sign or a wrap could go wrong; a quarter are of every size; the rest are
    uniform over all that truncation promises to take.

    Args:
        total: How many truncations, rounded up to a whole number of chunks.
        seed: Makes the run repeatable: it fixes values, shares and masks.
        drop: Bits taken off.
        bits: Ring width.
    """
    seeds = _seed(seed, "party 0"), _seed(seed, "party 1")
    planner = PlanningParty(0)
    activate(planner)
    drive(_program(Shared(torch.empty(CHUNK, dtype=torch.int64, device="meta"), drop), bits))
    plan, dealer = planner.plan(), offline.Dealer(seeds, {}, CPU)
    streams = tuple(Prg(seed) for seed in seeds)
    wrong = 0
    for call, value in enumerate(_adversarial(total, seed, bits)):
        corrections: list[Tensor] = []
        dealer.deal(plan, call, corrections.append)
        parties = [LiveParty(rank, CPU, 0, _Unused(), _seed(seed, "coins")) for rank in (0, 1)]
        for rank, party in enumerate(parties):
            arrived = iter(corrections)
            receive = _receiver(arrived)
            party.begin(offline.prepare_pool(plan, streams[rank].spawn(f"call {call}"), rank, {}, receive, CPU))
        # What a share is does not matter to a sum under a fresh mask; those of party 1 are zero.
        held = Shared(value, drop), Shared(torch.zeros_like(value), drop)
        one, two = _side_by_side(parties, [_program(share, bits) for share in held])
        off = one.share + two.share - (value >> drop)
        whole = (value & ((1 << drop) - 1)) == 0
        wrong += int(((off < 0) | (off > 1) | (whole & (off != 0))).sum())
    return wrong


def extremes(bits: int) -> Tensor:
    """Return every value at which a carry, a sign or a wrap could go wrong, within what truncation promises."""
    limit = 1 << (bits - HEADROOM_BITS)
    powers = [sign * (1 << k) + step for k in range(bits) for sign in (1, -1) for step in (-1, 0, 1)]
    edges = [limit - 1, limit - 2, -limit, -limit + 1, 0]
    return torch.tensor(sorted({v for v in [*powers, *edges] if -limit <= v < limit}), dtype=torch.int64)


def _adversarial(total: int, seed: int, bits: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corners, limit, part = extremes(bits), 1 << (bits - HEADROOM_BITS), CHUNK // 4
    for _ in range(-(-total // CHUNK)):
        value = torch.randint(-limit, limit, (CHUNK,), generator=generator)
        value[:part] >>= torch.randint(0, bits - HEADROOM_BITS, (part,), generator=generator)
        value[-part:] = corners[torch.randint(0, len(corners), (part,), generator=generator)]
        yield value


def _program(x: Shared, bits: int) -> Protocol[Shared]:
    return truncate(Shared(x.share, x.frac_bits, bits=bits), 0)


def _seed(seed: int, purpose: str) -> bytes:
    return hashlib.sha256(f"{seed} {purpose}".encode()).digest()


def _receiver(arrived: Iterator[Tensor]) -> Callable[[int], Tensor]:
    return lambda _size: next(arrived)


class _Unused:
    """Stands where a party has its line: nothing is sent over it here."""

    def exchange(self, message: Tensor, expected_bytes: int) -> Tensor:
        """Refuse."""
        raise NotImplementedError


def _side_by_side(parties: list[LiveParty], protocols: list[Protocol[Shared]]) -> list[Shared]:
    """Run the same protocol of both parties in one thread, and carry over what they open."""
    results: list[Shared | None] = [None, None]
    replies: list[tuple[Tensor, ...] | None] = [None, None]
    while any(result is None for result in results):
        requests = []
        for rank, (party, protocol, reply) in enumerate(zip(parties, protocols, replies, strict=True)):
            activate(party)
            try:
                requests.append(next(protocol) if reply is None else protocol.send(reply))
            except StopIteration as stop:
                results[rank] = stop.value
        if requests:
            pairs = list(zip(*requests, strict=True))
            opened = tuple(one.combined(one.packed(), other.packed()) for one, other in pairs)
            for request in requests:
                for opening, value in zip(request, opened, strict=True):
                    if opening.land is not None:
                        opening.land(value)
            replies = [opened, opened]
    activate(None)
    return [result for result in results if result is not None]
