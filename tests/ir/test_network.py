from __future__ import annotations

import pytest

from mpccompile.errors import OptionError
from mpccompile.ir.network import LAN, WAN, Network, Pace
from mpccompile.runtime.plan import Plan, Traffic, Work

PLAN = Plan((), (Traffic(3, (1000, 500), 2), Traffic(0, (0, 250), 1)), 4000, (Work(3, 2, 96, 512), Work(0, 1, 32, 0)))
SLOW = Network("slow", 1000.0, 0.5, Pace(0.01, 0.02, 0.1, 1e-3, 1e-4), Pace(0.0, 0.0, 0.2, 2e-3, 2e-4))


def test_every_part_is_priced():
    found = SLOW.seconds(PLAN)
    assert found.waiting == 3 * 0.25
    assert found.sending == pytest.approx(1.25)
    assert found.dealing == 4.0
    assert found.computing == pytest.approx(0.01 * 3 + 0.02 * 1250 + 0.1 * 3 + 1e-3 * 128 + 1e-4 * 512)
    assert found.preparing == pytest.approx(2 * (0.1 * 3 + 1e-3 * 128 + 1e-4 * 512))
    assert found.online == pytest.approx(found.waiting + found.sending + found.computing)
    assert found.total == pytest.approx(found.online + found.dealing + found.preparing)


def test_statements_add_up_to_the_call():
    found = SLOW.seconds(PLAN)
    pairs = zip(PLAN.traffic, PLAN.work, strict=True)
    alone = [SLOW.online_seconds([traffic], [work]) for traffic, work in pairs]
    assert sum(alone) == pytest.approx(found.online)


def test_networks_have_names():
    assert Network.named("wan") is WAN
    assert Network.named(LAN) is LAN
    assert WAN.seconds(PLAN).waiting == pytest.approx(0.06)
    assert LAN.bytes_per_second == 10 * WAN.bytes_per_second == 1.25e8
    with pytest.raises(OptionError, match=r"no network 'moon'\. Use lan, wan, loopback"):
        Network.named("moon")
