"""The page from the keyboard: search, walking the graph, and where the focus is."""

from __future__ import annotations

import re

from tests import models
from tests.report.browser.screen import box, go_to

LAYERS = [f"bert.encoder.layer.{layer}" for layer in range(models.LAYERS)]


def test_search_finds_what_there_is_and_leads_there(tab, shown):
    tab.keyboard.press("/")
    tab.keyboard.type("attend")
    hits = [row for row in shown["statements"] if row["op"] == "attend"]
    found = tab.locator("#found button").all_inner_texts()
    assert [text for text in found if re.match(r"attend_\d+ ", text)] == [
        f"{row['variable']} {row['shape']}\n{row['module']}, line {row['line']}" for row in hits
    ]
    assert tab.locator("#found p").inner_text() == f"{len(found)} found"
    tab.locator("#found button").filter(has_text=f"{hits[1]['variable']} [").first.click()
    assert box(tab, f"n:{hits[1]['node']}").get_attribute("aria-current") == "true"
    assert tab.locator(f"#line-{hits[1]['line']}").get_attribute("aria-selected") == "true"
    assert not tab.locator("#found").is_visible()
    tab.keyboard.press("/")
    tab.locator("#search").fill("nothing of that name")
    assert tab.locator("#found").inner_text() == "0 found"
    tab.keyboard.press("Escape")
    assert not tab.locator("#found").is_visible()


def test_enter_leads_to_an_operation_of_the_name_before_a_pass_of_it(tab, shown):
    tab.keyboard.press("/")
    tab.keyboard.type("gelu")
    tab.keyboard.press("Enter")
    first = next(row for row in shown["statements"] if row["op"] == "gelu")
    assert box(tab, f"n:{first['node']}").get_attribute("aria-current") == "true"


def test_the_graph_is_walked_with_the_keys_alone(tab):
    focused = "document.activeElement.dataset.key || document.activeElement.id"
    for _ in range(40):
        tab.keyboard.press("Tab")
        if tab.evaluate(focused).startswith(("n:", "g:")):
            break
    start = tab.evaluate(focused)
    tab.keyboard.press("ArrowDown")
    assert tab.evaluate(focused) != start
    for _ in range(20):
        if tab.evaluate(focused) == f"g:{LAYERS[0]}":
            break
        tab.keyboard.press("ArrowDown")
    assert tab.evaluate(focused) == f"g:{LAYERS[0]}"
    tab.keyboard.press("Enter")
    assert box(tab, f"g:{LAYERS[0]}").get_attribute("aria-expanded") == "true"
    tab.keyboard.press("ArrowDown")
    inside = tab.evaluate(focused)
    assert inside.startswith(f"g:{LAYERS[0]}.")
    tab.keyboard.press("Escape")
    assert tab.evaluate(focused) == f"g:{LAYERS[0]}"
    tab.keyboard.press("Enter")
    assert box(tab, f"g:{LAYERS[0]}").get_attribute("aria-expanded") == "false"


def test_what_is_chosen_or_has_the_focus_is_outlined_where_a_pass_changed_it(tab, shown):
    index, stage = next((index, each) for index, each in enumerate(shown["graph"]["stages"]) if each["changed"])
    go_to(tab, index)
    tab.locator("#open-all").click()
    name = shown["graph"]["rows"][stage["changed"][0][1]]["name"]
    card = box(tab, f"n:{name}").locator(".card")
    stroke = "each => getComputedStyle(each).strokeWidth"
    before = card.evaluate(stroke)
    box(tab, f"n:{name}").click()
    assert card.evaluate(stroke) != before
    chosen = card.evaluate(stroke)
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowUp")
    assert tab.locator("#picture .node.changed:focus-visible .card").first.evaluate(stroke) != chosen
