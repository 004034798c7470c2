from __future__ import annotations

import pytest

from mpccompile.errors import OptionError
from mpccompile.ir.network import LAN, WAN, Network
from mpccompile.runtime.plan import Plan, Step, Traffic

PLAN = Plan(
    (Step("mask", (4, 8)), Step("static", (4, 16), (0,), ("linear", 64), "w"), Step("mul", (4, 8), (0, 0))),
    (Traffic(3, (1000, 500), 2), Traffic(0, (0, 250), 1)),
    4000,
)


def test_every_part_is_priced():
    slow = Network("slow", 1000.0, 0.5, word_seconds=1e-3, product_seconds=1e-4)
    found = slow.seconds(PLAN)
    assert found.waiting == 3 * 0.25
    assert found.sending == pytest.approx(1.25)
    assert found.dealing == 4.0
    assert found.computing == pytest.approx(1e-3 * (32 + 64 + 32) + 1e-4 * 64 * 8)
    assert found.total == pytest.approx(found.waiting + found.sending + found.dealing + found.computing)


def test_networks_have_names():
    assert Network.named("wan") is WAN
    assert Network.named(LAN) is LAN
    assert WAN.seconds(PLAN).waiting == pytest.approx(0.06)
    assert LAN.bytes_per_second == 10 * WAN.bytes_per_second == 1.25e8
    with pytest.raises(OptionError, match=r"no network 'moon'\. Use lan, wan, loopback"):
        Network.named("moon")
