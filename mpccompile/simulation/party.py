"""One party that stands for both: it holds every value whole, and the protocols compute on it as they are.

Every protocol is right for any split of a value into shares, so also for (value, 0). What a private run adds to
plaintext is fixed point: weights and inputs rounded to the nearest multiple of 2^-f, series with their fits and their
coefficients' rounding, Newton steps, and truncations. All of that is the protocols' own code here.

Truncation rounds up or down at random, as the private run does: up as often as the bits taken off say. Rounding to
nearest instead would halve the deviation of each step and so promise too much. A mask of a series is uniform, because
the waves dealt of it are rounded: left out, that noise was 7 times too small for an encoder with padding. Any other
mask holds no more than the bits that a truncation takes off, which is all that a result can depend on, so what is dealt
of it is mostly zero and costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mpccompile.errors import DealerError
from mpccompile.runtime import correlations, ring
from mpccompile.runtime.correlations import Dealt
from mpccompile.runtime.party import Openings, Party, Truncation
from mpccompile.runtime.products import multiply_static
from mpccompile.runtime.shared import Mask, StaticWeight

if TYPE_CHECKING:
    from mpccompile.runtime.plan import Plan, Step


class _BothRanks(int):
    """A rank that is 0 where a protocol asks for 0 and 1 where it asks for 1."""

    def __eq__(self, other: object) -> bool:
        return other in (0, 1)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash("both ranks")


class SimulatedParty(Party):
    """Carries out one call of a program on whole values.

    Args:
        plan: The program's offline steps: which masks a truncation uses, and for how many bits.
        weights: The static weights by name.
        frac_bits: Fractional bits of a value between operations.
        seed: Chooses how truncations round.
        truncation: How values are truncated.

    Attributes:
        wraps: How many values a private run is expected to truncate wrongly: where the parties truncate locally, a
            value of z units with probability |z| / 2^64.
    """

    def __init__(
        self,
        plan: Plan,
        weights: Mapping[str, StaticWeight],
        frac_bits: int,
        seed: int,
        truncation: Truncation = "exact",
    ) -> None:
        super().__init__(_BothRanks(), torch.device("cpu"), frac_bits, truncation)
        self.wraps = 0.0
        self._steps = plan.steps
        self._weights = weights
        self._random_bits = _random_bits(plan)
        self._generator = torch.Generator().manual_seed(seed)
        self._values: list[Tensor | None] = []
        self._last_use = plan.last_use

    def draw(self, step: Step) -> Mask:
        """Return the whole of the next piece of correlated randomness.

        Raises:
            DealerError: If the program asks for something else than the plan says.
        """
        key = len(self._values)
        if key >= len(self._steps) or self._steps[key] != step:
            raise DealerError(f"the program asked for {step.kind} {step.shape}, which its plan does not say")
        value = self._value(key, step)
        self._values.append(value)
        for source in (*step.inputs, key):
            if self._last_use[source] <= key:
                self._values[source] = None
        return Mask(key, value)

    def open(self, openings: Openings) -> tuple[Tensor, ...]:
        """Return what the two parties would see: there is nothing to exchange."""
        self.ledger.record(openings)
        return tuple(ring.reduce(opening.masked, opening.bits) for opening in openings)

    def truncated_alone(self, share: Tensor, drop: int) -> Tensor:
        """Return the truncated value, and count how likely two parties are to get it wrong."""
        self.wraps += float(share.double().abs().sum()) * 2.0**-ring.WORD_BITS
        return share >> drop

    def public_coins(self, shape: Sequence[int]) -> Tensor:
        """Return ones: a sum of words that are not negative is zero exactly when all of them are."""
        return torch.ones(tuple(shape), dtype=torch.int64)

    def _value(self, key: int, step: Step) -> Tensor:
        if step.kind in correlations.FRESH:
            return self._fresh(key, step)
        sources = [self._source(source) for source in step.inputs]
        if step.kind in correlations.LOCAL:
            return correlations.apply_local(step, sources)
        if step.kind in correlations.TABLES:
            return _table(step, sources[0])
        if any(bool(source.any()) for source in sources):
            return self._dealt(step, sources)
        return torch.zeros(step.shape, dtype=torch.int64)

    def _source(self, key: int) -> Tensor:
        value = self._values[key]
        if value is None:
            raise DealerError(f"correlated randomness {key} was already used for the last time")
        return value

    def _fresh(self, key: int, step: Step) -> Tensor:
        bits = self._random_bits.get(key, 0)
        if bits == 0:
            return torch.zeros(step.shape, dtype=torch.int64)
        if bits == ring.WORD_BITS:
            half = 1 << (bits - 1)
            return torch.randint(-half, half - 1, step.shape, generator=self._generator)
        return torch.randint(0, 1 << bits, step.shape, generator=self._generator)

    def _dealt(self, step: Step, sources: Sequence[Tensor]) -> Tensor:
        if step.weight:
            kind, bits = step.params
            return multiply_static(sources[0], self._weights[step.weight], kind, bits).reshape(step.shape)
        return correlations.secret_value(step, [Dealt(source, source, source) for source in sources])


def _random_bits(plan: Plan) -> dict[int, int]:
    """Return, by key of a mask, how many of its low bits a result can depend on: those that a truncation takes off.

    All of them where waves are dealt of the mask, or the powers of a range test.
    """
    bits: dict[int, int] = {}
    for step in plan.steps:
        if step.kind == "shift":
            _ring_bits, drop = step.params
            bits[step.inputs[0]] = int(drop)
    for step in plan.steps:
        if step.kind in correlations.TABLES:
            bits[_first_mask(plan, step.inputs[0])] = ring.WORD_BITS
    return bits


def _first_mask(plan: Plan, key: int) -> int:
    """Return the mask that a step's mask is a view of, or the upper bits of."""
    while plan.steps[key].kind not in correlations.FRESH:
        key = plan.steps[key].inputs[0]
    return key


def _table(step: Step, mask: Tensor) -> Tensor:
    """Return the waves or the powers of a mask: all of them is what one party has when the other has nothing."""
    table = torch.zeros(step.shape, dtype=torch.int32 if step.kind in correlations.NARROW else torch.int64)
    correlations.TABLES[step.kind](mask, table, *step.params)
    return table
