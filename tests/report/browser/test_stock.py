"""The page of a stock CrypTen program says nothing of costs that nobody knows, and what a profile measured."""

from __future__ import annotations

import json

import pytest

from mpccompile import compiler
from mpccompile.codegen import package as packages
from mpccompile.options import Options
from mpccompile.report.page import page as html_of
from mpccompile.report.picture import picture
from mpccompile.report.profile import Profile
from mpccompile.runtime.session import CallReport
from tests import models
from tests.report.browser.screen import box, details, facts, go_to, told_bytes

OF_COSTS = ("a party sends", "rounds", "offline", "predicted here", "on a LAN", "on a WAN")


@pytest.fixture(scope="module")
def stock(browser, tmp_path_factory):
    options = Options(target="crypten")
    folder = tmp_path_factory.mktemp("stock") / "bert"
    return compiler.build(*models.bert(), folder, options=options, passes=compiler.passes_for(options))


@pytest.fixture(scope="module")
def shown_of(stock):
    source = (stock.folder / "model.py").read_text(encoding="utf-8")

    def shown(profile=None):
        return json.loads(json.dumps(picture(stock, source, packages.read_graphs(stock.folder), profile)))

    return shown


@pytest.fixture(scope="module")
def profile(stock):
    """Return a profile in which each statement sent its line in bytes, and took a round."""
    traffic = tuple((each.line, each.line, each.line, 1) for each in stock.statements)
    seconds = tuple((each.line, 0.5) for each in stock.statements)
    report = CallReport(
        traffic=(*traffic, (0, 8, 8, 2)), online_seconds=100.0, offline_seconds=1.0, line_seconds=seconds
    )
    return json.loads(json.dumps(Profile.of(stock, report).to_json()))


@pytest.fixture
def opened(visit, shown_of, tmp_path):
    def page(profile=None):
        (tmp_path / "show.html").write_text(html_of(shown_of(profile)), encoding="utf-8")
        return visit((tmp_path / "show.html").as_uri())

    return page


def test_before_it_ran_no_cost_is_told(opened, shown_of):
    tab = opened()
    assert set(facts(tab)) == {"operations"}
    assert details(tab)["sends"] == "not known before it runs"
    assert not {"rounds", "predicted", "measured"} & set(details(tab))
    for selector in ("#trace", "#legend .critical", "#legend .of-costs >> nth=0"):
        assert not tab.locator(selector).is_visible()
    tab.keyboard.press("c")
    assert tab.locator("#picture.trace").count() == 0
    tab.locator(f"#line-{shown_of()['statements'][-1]['line']}").click()
    assert details(tab)["sends"] == "not known before it runs"
    tab.get_by_role("tab", name="Costs").click()
    cells = tab.locator('[data-key="m"] > span').all_inner_texts()
    assert cells[2:] == ["", "", ""]
    assert tab.locator("#tree .bar").count() == 0
    assert tab.locator("#time-head").inner_text() == ""


def test_no_stage_has_costs_that_only_other_protocols_have(opened):
    tab = opened()
    go_to(tab, 0)
    tab.locator("#open-all").click()
    assert tab.locator("#picture .cost").count() == tab.locator("#picture .critical").count() == 0
    assert not {"sends", "rounds", "predicted"} & set(details(tab))
    go_to(tab, 1)
    assert tab.locator("#step tbody th").all_inner_texts() == ["nodes"]


def test_a_profile_tells_what_it_sent(opened, shown_of, profile, stock):
    tab, shown = opened(profile), shown_of(profile)
    sent = sum(each.line for each in stock.statements)
    known = facts(tab)
    assert known["a party sends"] == told_bytes(sent + 8)
    assert known["rounds"] == str(len(stock.statements) + 2)
    assert known["measured"] == "100.00 s"
    assert not set(OF_COSTS[3:]) & set(known)
    row = shown["statements"][-1]
    tab.locator(f"#line-{row['line']}").click()
    assert box(tab, f"n:{row['node']}").get_attribute("aria-current") == "true"
    assert details(tab)["sends"] == f"party 0: {told_bytes(row['line'])}, party 1: {told_bytes(row['line'])}"
    assert details(tab)["rounds"] == "1"
    assert "predicted" not in details(tab)


def test_the_picture_has_none_for_what_is_not_known(shown_of, profile):
    total = shown_of()["total"]
    assert [total[name] for name in ("bytes", "rounds", "predicted", "offline_bytes")] == [None] * 4
    assert shown_of()["modules"]["bytes"] is None
    measured = shown_of(profile)["total"]
    assert measured["predicted"] is None
    assert measured["offline_bytes"] == profile["offline_bytes"]
