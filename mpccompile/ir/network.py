"""What a program takes in seconds over a named network, from its plan alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpccompile.errors import OptionError

if TYPE_CHECKING:
    from mpccompile.runtime.plan import Plan, Step

MEGABIT_BYTES = 125_000


@dataclass(frozen=True)
class Network:
    """The line between the parties, and the machines at its ends.

    Attributes:
        name: What it is called.
        bytes_per_second: What the line carries, each way at once; the dealer's is as fast.
        round_trip_seconds: Time for a message there and one back. The two messages of a round cross, so a round takes
            half of it.
        word_seconds: Computing, per dealt word, of what all three processes do with it.
        product_seconds: Computing, per product of two numbers in a matrix product, by all that compute it. Both are
            fitted to six BERTs, 128 to 768 wide, on two cores: 0.90 to 1.08 times what those took in all.
    """

    name: str
    bytes_per_second: float
    round_trip_seconds: float
    word_seconds: float = 4.0e-8
    product_seconds: float = 1.8e-10

    def waiting(self, rounds: float) -> float:
        """Return the seconds that so many rounds wait for messages."""
        return rounds * self.round_trip_seconds / 2

    def sending(self, count_bytes: float) -> float:
        """Return the seconds that so many bytes take one way."""
        return count_bytes / self.bytes_per_second

    def seconds(self, plan: Plan) -> Seconds:
        """Estimate what one call takes."""
        waits = self.waiting(sum(row.rounds for row in plan.traffic))
        sent = self.sending(sum(max(row.bytes_sent) for row in plan.traffic))
        dealt = self.sending(plan.offline_bytes)
        words = sum(math.prod(step.shape) for step in plan.steps)
        products = sum(_products(step, plan) for step in plan.steps)
        return Seconds(waits, sent, dealt, words * self.word_seconds + products * self.product_seconds)

    @classmethod
    def named(cls, network: str | Network) -> Network:
        """Return a network by its name.

        Raises:
            OptionError: If there is none of that name.
        """
        if isinstance(network, Network):
            return network
        for known in NETWORKS:
            if known.name == network:
                return known
        names = ", ".join(known.name for known in NETWORKS)
        raise OptionError(f"there is no network {network!r}", hint=f"Use {names}, or a Network of your own.")


@dataclass(frozen=True)
class Seconds:
    """An estimate of one call, in parts.

    Attributes:
        waiting: Rounds, for the line's latency.
        sending: Bytes between the parties.
        dealing: Bytes from the dealer.
        computing: Work of the dealer and the parties, offline and online.
    """

    waiting: float
    sending: float
    dealing: float
    computing: float

    @property
    def total(self) -> float:
        """All of it, as if nothing ran side by side and nothing were prepared ahead."""
        return self.waiting + self.sending + self.dealing + self.computing


LAN = Network("lan", 1000 * MEGABIT_BYTES, 0.5e-3)
"""1 Gbit/s and 0.5 ms, as papers on private inference have it."""
WAN = Network("wan", 100 * MEGABIT_BYTES, 40e-3)
"""100 Mbit/s and 40 ms, likewise."""
LOOPBACK = Network("loopback", 2.5e9, 10e-6)
"""Three processes on one machine."""
NETWORKS = (LAN, WAN, LOOPBACK)


def _products(step: Step, plan: Plan) -> int:
    """Return the products of numbers in a step's matrix product, from the shapes of its operands."""
    if step.kind not in ("matmul", "static") or not step.inputs or "mul" in step.params:
        return 0
    inner = plan.steps[step.inputs[0]].shape[-1]
    return math.prod(step.shape) * inner
