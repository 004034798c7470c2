"""What a run would take over a network: a model made of what was measured, not a measurement."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mpccompile.report.compare import Cost

BITS_PER_BYTE = 8


@dataclass(frozen=True)
class Network:
    """What lies between the parties, and between the dealer and a party.

    Attributes:
        name: What a table calls it.
        bits_per_second: In each direction.
        latency_seconds: What is charged for a round: a round trip, though the parties send at the same time.
    """

    name: str
    bits_per_second: float
    latency_seconds: float

    def online_seconds(self, cost: Cost) -> float:
        """Return the seconds of a call whose randomness is there already."""
        return cost.online_seconds + self._sending(cost.bytes_sent) + cost.rounds * self.latency_seconds

    def seconds(self, cost: Cost) -> float:
        """Return the seconds of a call with the making of its randomness, which comes in one stream."""
        return self.online_seconds(cost) + cost.offline_seconds + self._sending(cost.offline_bytes)

    def _sending(self, count: float) -> float:
        return count * BITS_PER_BYTE / self.bits_per_second


HERE = Network("this machine", math.inf, 0.0)
LAN = Network("LAN", 1e9, 0.5e-3)
WAN = Network("WAN", 100e6, 40e-3)
NETWORKS = (HERE, LAN, WAN)
ASSUMED = "LAN: 1 Gbps, 0.5 ms a round. WAN: 100 Mbps, 40 ms a round. Both modelled from bytes and rounds."
