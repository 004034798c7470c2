import io

import pytest
from rich.console import Console

from mpccompile.bench import mpcformer_report as report
from mpccompile.bench.networks import HERE, LAN, WAN, online_seconds, seconds
from mpccompile.bench.parts import Pair, Part
from mpccompile.bench.race import OURS, STOCK
from mpccompile.report.compare import Cost


def pair(name, ours, stock=(40.0, 20.0, 1e9, 0, 1000)):
    return Pair(name, Cost(OURS, *ours), Cost(STOCK, *stock), (10**9, 2 * 10**9), "a layer")


def models(*pairs):
    return Part("models", "bert-base-128", "BERT-base", {each.name: each for each in pairs})


EXACT = pair("exact", (3.0, 5.0, 250e6, 125e6, 400))


def test_a_network_adds_its_bandwidth_and_a_latency_per_round():
    assert online_seconds(HERE, EXACT.ours) == 3
    assert online_seconds(LAN, EXACT.ours) == pytest.approx(3 + 2 + 0.1)
    assert online_seconds(WAN, EXACT.ours) == pytest.approx(3 + 20 + 8)
    assert seconds(HERE, EXACT.ours) == 8
    assert seconds(WAN, EXACT.ours) == pytest.approx(3 + 20 + 8 + 5 + 10)


def test_gains_are_over_exact_within_one_engine():
    quad = pair("Quad + 2Quad", (1.5, 2.5, 250e6, 125e6, 400), (10.0, 10.0, 5e8, 0, 500))
    assert report.gains(quad, EXACT, OURS, HERE) == (2, 2)
    assert report.gains(quad, EXACT, STOCK, HERE) == (4, 3)


def test_conclusion_follows_the_numbers():
    quad = pair("Quad + 2Quad", (1.5, 2.5, 250e6, 125e6, 400), (1.0, 1.0, 5e8, 0, 500))
    relu = pair("Quad + 2ReLU", (6.0, 5.0, 900e6, 125e6, 900))
    told = " ".join(report.conclusion(models(EXACT, relu, quad)))
    assert "This machine: Quad + 2Quad saves 50%, to be weighed against" in told
    assert "WAN: Quad + 2Quad saves 9% at best, too little" in told
    assert "more than stock CrypTen with Quad + 2Quad (2.00 s)" in told
    slower = " ".join(report.conclusion(models(EXACT, relu)))
    assert "LAN: no approximation is faster, so exact functions cost nothing" in slower
    assert "3.00 s online with exact functions (8.00 s with what is offline), less than stock" in slower


def test_nothing_is_concluded_from_half_a_part():
    assert report.conclusion(models(EXACT)) == ()
    assert report.conclusion(models(pair("Quad + 2Quad", (1.0, 1.0, 1, 1, 1)))) == ()


def test_tables_compare_with_what_was_published_and_say_what_failed():
    part = models(EXACT, pair("Quad + 2Quad", (1.5, 2.5, 250e6, 125e6, 400)))
    part.failed["Quad + 2ReLU"] = "[/] no room"
    buffer = io.StringIO()
    report.print_part(part, Console(file=buffer, width=200))
    text = " ".join(buffer.getvalue().split())
    assert "models/bert-base-128: Quad + 2ReLU FAILED: [/] no room" in text
    assert "2.0 GB at most. Scaled: a layer." in text
    assert "2.2 │" in text
