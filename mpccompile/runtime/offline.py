"""The offline phase: the dealer deals a plan, and each party turns what it gets into a pool for one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from mpccompile.errors import DealerError
from mpccompile.runtime import correlations, ring
from mpccompile.runtime.correlations import Dealt
from mpccompile.runtime.party import Pool
from mpccompile.runtime.prg import Prg
from mpccompile.runtime.products import multiply_static

if TYPE_CHECKING:
    from mpccompile.runtime.plan import Plan, Step
    from mpccompile.runtime.row_masks import RowMasks
    from mpccompile.runtime.shared import StaticWeight

Send = Callable[[Tensor], None]
Receive = Callable[[int], Tensor]


class Dealer:
    """Makes correlated randomness for one session; knows the weights' masks and nothing of weights or inputs.

    Args:
        seeds: One seed for each party; the dealer expands both, each party its own.
        masked_weights: Shape of every static weight that some step multiplies.
        device: Where to compute.
    """

    def __init__(
        self, seeds: tuple[bytes, bytes], masked_weights: Mapping[str, tuple[int, ...]], device: torch.device
    ) -> None:
        self._seeds = seeds
        self._calls = tuple(Prg(seed) for seed in seeds)
        self._device = device
        self._shapes = masked_weights
        self._masks: dict[str, Tensor] = {}
        self._operands: dict[tuple[str, str, int], ring.Operand] = {}

    def deal(self, plan: Plan, call: int, send: Send, rows: Sequence[TextRows] = ()) -> None:
        """Compute every correlation of one call and send rank 1 its corrections, packed, in order.

        Args:
            plan: The offline program.
            call: Number of the call in this session, never used twice.
            send: Sends rank 1 a correction.
            rows: Of each party, the masks of the text that the call belongs to, if it belongs to one.

        Raises:
            DealerError: If a call of that number was dealt before.
        """
        streams = tuple(
            _Stream(calls.spawn(f"call {call}"), *rows[rank : rank + 1]) for rank, calls in enumerate(self._calls)
        )
        values: dict[int, Dealt] = {}
        last_use = plan.last_use
        for key, step in enumerate(plan.steps):
            values[key] = self._value(step, [values[source] for source in step.inputs], streams, send)
            for source in (*step.inputs, key):
                if last_use[source] <= key:
                    values.pop(source, None)

    def _value(self, step: Step, sources: list[Dealt], streams: tuple[_Stream, ...], send: Send) -> Dealt:
        """Deal one step; of a table nothing is kept, because no step is computed from one."""
        if step.kind in correlations.LOCAL:
            parts = zip(*((source.share0, source.share1, source.total) for source in sources), strict=True)
            return Dealt(*(correlations.apply_local(step, part) for part in parts))
        share0 = _own_share(step, streams[0], 0).to(self._device)
        if step.kind in correlations.FRESH:
            share1 = _own_share(step, streams[1], 1).to(self._device)
            return Dealt(share0, share1, correlations.combine(step, share0, share1))
        if step.kind in correlations.TABLES:
            correlations.TABLES[step.kind](sources[0].total, share0, *step.params)
            send(correlations.packed(step, share0))
            return sources[0]
        total = self._static(step, sources[0]) if step.weight else correlations.secret_value(step, sources)
        share1 = correlations.split(step, total, share0)
        send(correlations.packed(step, share1))
        return Dealt(share0, share1, total)

    def _static(self, step: Step, source: Dealt) -> Tensor:
        """Return a1 B, the part of a W that rank 1 can not make from the difference W - B."""
        kind, bits = step.params
        key = (step.weight, kind, bits)
        mask = self._weight_mask(step.weight)
        if kind == "mul":
            return source.share1 * mask
        if key not in self._operands:
            matrix = mask if kind == "rows" else mask.flatten(1).transpose(-1, -2)
            self._operands[key] = ring.prepare(matrix, None, bits)
        flat = source.share1.reshape(-1, source.share1.shape[-1])
        return ring.matmul(flat, self._operands[key], ring_bits=bits).reshape(step.shape)

    def _weight_mask(self, name: str) -> Tensor:
        if name not in self._masks:
            self._masks[name] = weight_mask(self._seeds[0], name, self._shapes[name]).to(self._device)
        return self._masks[name]


def weight_mask(seed: bytes, name: str, shape: tuple[int, ...]) -> Tensor:
    """Return the mask B of a static weight, from the seed that rank 0 and the dealer have in common."""
    return Prg(seed).spawn(f"weight {name}").words(shape)


@dataclass(frozen=True)
class TextRows:
    """One party's shares of the masks of a text's rows, and how many rows earlier calls of the text have put."""

    masks: RowMasks
    filled: int


@dataclass(frozen=True)
class _Stream:
    """Where a party's shares of masks come from: the stream of the call, and the text that it belongs to."""

    call: Prg
    rows: TextRows | None = None


def _own_share(step: Step, stream: _Stream, rank: int) -> Tensor:
    if step.kind != "row_mask":
        return _of_call(step, stream.call, rank)
    if stream.rows is None:
        raise DealerError(f"the rows of {step.params[0]} belong to no text")
    return stream.rows.masks.share(step, stream.rows.filled)


def _of_call(step: Step, stream: Prg, rank: int) -> Tensor:
    if step.kind == "client_mask" and rank == 0:
        return torch.zeros(step.shape, dtype=torch.int64)
    if step.kind in correlations.NARROW:
        return stream.narrow_words(step.shape)
    return stream.words(step.shape)


def prepare_pool(
    plan: Plan,
    stream: Prg,
    rank: int,
    weights: Mapping[str, StaticWeight],
    receive: Receive,
    device: torch.device,
    rows: TextRows | None = None,
) -> Pool:
    """Build a party's pool for one call: expand its shares, take the dealer's corrections, do what is local.

    Args:
        plan: The offline program.
        stream: What this call expands to of the seed that this party has in common with the dealer; used up.
        rank: 0 or 1.
        weights: Static weights, for the offline half of their products.
        receive: Blocks for the next correction of so many bytes; called by rank 1 only.
        device: Where shares live.
        rows: The masks of the text that the call belongs to, if it belongs to one.
    """
    own = _Stream(stream, rows)
    shares: list[Tensor | None] = []
    for step in plan.steps:
        sources = [shares[source] for source in step.inputs]
        if step.kind in correlations.LOCAL:
            # Steps only read earlier ones, which are all there.
            shares.append(correlations.apply_local(step, cast("list[Tensor]", sources)))
            continue
        if correlations.is_dealt(step) and rank == 1:
            share = correlations.unpacked(step, receive(correlations.correction_bytes(step)))
        else:
            share = _own_share(step, own, rank)
        share = share.to(device)
        if step.weight and sources[0] is not None:
            kind, bits = step.params
            share = share + multiply_static(sources[0], weights[step.weight], kind, bits)
        shares.append(share)
    return Pool(plan.steps, shares)
