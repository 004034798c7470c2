"""The page of a broken model shows which pass broke it, and the value that is wrong first, in every view of it."""

from __future__ import annotations

import pytest

from mpccompile.commands import diagnosing
from mpccompile.diagnosis import diagnose
from mpccompile.ir import ops
from mpccompile.ir.edit import edited
from mpccompile.ir.program import origin_of
from mpccompile.options import Options
from tests import models

MODULE = "bert.encoder.layer.1.output.dense"
WRONG = "\u2717"


def fail(program):
    raise KeyError("nothing is left")


def stretch(program):
    """Stretch a weight of the second layer."""
    edit = edited(program)
    (node,) = [node for node in edit.nodes if node.target is ops.linear and origin_of(node).module_path == MODULE]
    edit.change(node, weight=edit.weight(node.args[1], node, 9 * edit.data(node.args[1])))
    return edit.done()


def forget(program):
    """Lose the last bias."""
    edit = edited(program)
    node = [node for node in edit.nodes if node.target is ops.linear][-1]
    edit.change(node, bias=None)
    return edit.done()


@pytest.fixture(scope="module")
def diagnosis(browser):
    return diagnose(*models.bert(), Options(), [fail, stretch, forget])


@pytest.fixture(scope="module")
def broken_page(diagnosis, tmp_path_factory):
    path = tmp_path_factory.mktemp("broken") / "show.html"
    diagnosing._write(diagnosis, Options(), path)
    return path.as_uri()


def test_it_opens_on_the_value_that_is_wrong_first(visit, diagnosis, broken_page):
    tab = visit(broken_page)
    found = diagnosis.broken[1]
    assert (found.stage, found.module_path) == ("stretch", MODULE)
    assert tab.locator("#stage option:checked").inner_text().startswith(f"{WRONG} ")
    assert "stretch (1 change) BROKEN" in tab.locator("#stage option:checked").inner_text()
    (wrong,) = tab.locator("#picture .node.wrong").all()
    assert wrong.get_attribute("data-key") == f"n:{found.node}"
    assert wrong.get_attribute("aria-current") == "true"
    assert f"off by {found.error:.1e}"[:10] in wrong.get_attribute("aria-label")
    assert tab.locator("#details .chip.wrong").inner_text() == f"{WRONG} wrong first"
    tab.locator("#close-all").click()
    (group,) = tab.locator("#picture .group.wrong").all()
    assert group.get_attribute("data-key") == "g:bert.encoder.layer.1"


def test_all_that_is_broken_is_told_and_a_link_leads_to_what_is_drawn(visit, diagnosis, broken_page):
    tab = visit(broken_page)
    told = tab.locator("#broken li").all_inner_texts()
    assert [text.split()[1] for text in told] == ["fail", "stretch", "forget"]
    assert "KeyError: 'nothing is left'" in told[0]
    tab.locator("#stage").select_option("0")
    assert tab.locator("#picture .wrong").count() == 0
    tab.locator("#broken button").click()
    assert tab.locator("#picture .node.wrong[aria-current]").count() == 1
    tab.keyboard.press("]")
    assert tab.locator("#stage option:checked").inner_text() == "Compiled: what runs"
    assert tab.locator("#picture .node.wrong").get_attribute("data-key") == f"n:{diagnosis.broken[1].node}"


def test_it_fits_a_phone(visit, broken_page):
    tab = visit(broken_page, viewport={"width": 390, "height": 844}, has_touch=True)
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    assert tab.locator("#broken").is_visible()


def test_a_page_of_a_whole_model_has_nothing_of_it(tab):
    assert not tab.locator("#broken").is_visible()
    assert tab.locator(".wrong").count() == 0
