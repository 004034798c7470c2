"""What a measured run would take over a network: a model made of what was measured, not a measurement."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from mpccompile.ir import network as known
from mpccompile.ir.network import Network

if TYPE_CHECKING:
    from mpccompile.report.compare import Cost

__all__ = ["ASSUMED", "HERE", "LAN", "NETWORKS", "WAN", "online_seconds", "seconds"]

HERE = Network("this machine", math.inf, 0.0)
LAN, WAN = replace(known.LAN, name="LAN"), replace(known.WAN, name="WAN")
NETWORKS = (HERE, LAN, WAN)
ASSUMED = (
    "LAN: 1 Gbit/s, 0.5 ms there and back; WAN: 100 Mbit/s, 40 ms. The messages of a round cross, so it waits for half"
    " of that. Both are modelled from bytes and rounds."
)


def online_seconds(network: Network, cost: Cost) -> float:
    """Return the seconds of a call whose randomness is there already."""
    return cost.online_seconds + network.sending(cost.bytes_sent) + network.waiting(cost.rounds)


def seconds(network: Network, cost: Cost) -> float:
    """Return the seconds of a call with the making of its randomness, which comes in one stream."""
    return online_seconds(network, cost) + cost.offline_seconds + network.sending(cost.offline_bytes)
