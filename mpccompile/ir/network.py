"""What a program takes in seconds over a named network, from its plan alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpccompile.errors import OptionError

if TYPE_CHECKING:
    from mpccompile.runtime.plan import Plan, Traffic, Work

MEGABIT_BYTES = 125_000


@dataclass(frozen=True)
class Pace:
    """How fast a machine computes.

    Attributes:
        round_seconds: Per round, for what a party does around its messages.
        byte_seconds: Per byte that a party sends, for packing it and unpacking the other's.
        step_seconds: Per piece of correlated randomness, whatever its size.
        word_seconds: Per number in it.
        product_seconds: Per product of two numbers in a matrix product.
    """

    round_seconds: float
    byte_seconds: float
    step_seconds: float
    word_seconds: float
    product_seconds: float

    def seconds(self, traffic: Iterable[Traffic], work: Iterable[Work]) -> float:
        """Return the seconds of so much work."""
        rows, done = list(traffic), list(work)
        return (
            sum(row.rounds for row in rows) * self.round_seconds
            + sum(max(row.bytes_sent) for row in rows) * self.byte_seconds
            + sum(row.steps for row in done) * self.step_seconds
            + sum(row.words for row in done) * self.word_seconds
            + sum(row.products for row in done) * self.product_seconds
        )


ONLINE = Pace(3.8e-4, 3.2e-9, 0.0, 3.2e-10, 1.8e-11)
"""A party's work in a call. Fitted, with what loopback takes, to 21 Transformers and networks 8 to 768 wide, calls of 6
to 180 ms on two cores of a server: it predicts 0.56 to 1.24 times what each took, and half to twice what most kinds of
operation did."""
OFFLINE = Pace(0.0, 0.0, 7.4e-5, 7.7e-9, 1.5e-10)
"""Making a call's randomness, by the dealer and both parties. Fitted to the same: 0.5 to 1.5 times what each took."""


@dataclass(frozen=True)
class Network:
    """The line between the parties, and the machines at its ends.

    Attributes:
        name: What it is called.
        bytes_per_second: What the line carries, each way at once; the dealer's is as fast.
        round_trip_seconds: Time for a message there and one back. The two messages of a round cross, so a round takes
            half of it.
        online: How fast a party computes in a call.
        offline: How fast a call's randomness is made.
    """

    name: str
    bytes_per_second: float
    round_trip_seconds: float
    online: Pace = ONLINE
    offline: Pace = OFFLINE

    def waiting(self, rounds: float) -> float:
        """Return the seconds that so many rounds wait for messages."""
        return rounds * self.round_trip_seconds / 2

    def sending(self, count_bytes: float) -> float:
        """Return the seconds that so many bytes take one way."""
        return count_bytes / self.bytes_per_second

    def online_seconds(self, traffic: Iterable[Traffic], work: Iterable[Work]) -> float:
        """Estimate what some statements of a call take, one after another, once their randomness is there."""
        rows = list(traffic)
        waiting = self.waiting(sum(row.rounds for row in rows))
        return waiting + self.sending(sum(max(row.bytes_sent) for row in rows)) + self.online.seconds(rows, work)

    def seconds(self, plan: Plan) -> Seconds:
        """Estimate what one call takes."""
        return Seconds(
            self.waiting(sum(row.rounds for row in plan.traffic)),
            self.sending(sum(max(row.bytes_sent) for row in plan.traffic)),
            self.sending(plan.offline_bytes),
            self.online.seconds(plan.traffic, plan.work),
            self.offline.seconds(plan.traffic, plan.work),
        )

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
        computing: The parties' work in the call.
        preparing: Work of the dealer and the parties to make its randomness.
    """

    waiting: float
    sending: float
    dealing: float
    computing: float
    preparing: float

    @property
    def online(self) -> float:
        """What the call takes once its randomness is there."""
        return self.waiting + self.sending + self.computing

    @property
    def total(self) -> float:
        """All of it, as if nothing ran side by side and nothing were prepared ahead."""
        return self.online + self.dealing + self.preparing


LAN = Network("lan", 1000 * MEGABIT_BYTES, 0.5e-3)
"""1 Gbit/s and 0.5 ms, as papers on private inference have it."""
WAN = Network("wan", 100 * MEGABIT_BYTES, 40e-3)
"""100 Mbit/s and 40 ms, likewise."""
LOOPBACK = Network("loopback", 2.5e9, 10e-6)
"""Three processes on one machine."""
NETWORKS = (LAN, WAN, LOOPBACK)
