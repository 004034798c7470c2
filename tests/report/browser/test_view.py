"""The page as it is looked at: zoomed, in both themes, on a phone and on paper."""

from __future__ import annotations

import math

import pytest

from tests import models
from tests.report.browser.screen import box, contrast, go_to, stage_named

LAYERS = [f"bert.encoder.layer.{layer}" for layer in range(models.LAYERS)]
SIGNS = ("added", "removed", "changed")


# How many arrows there are inside frames, and by how much each reaches beyond its own.
ARROWS = """
    () => [...document.querySelectorAll("#picture .frame")].flatMap((frame) => {
      const inside = [...frame.parentElement.parentElement.lastElementChild.children];
      return inside.filter((each) => each.matches(".arrow")).map((arrow) => {
        const { x, width } = arrow.querySelector(".shaft").getBBox();
        return Math.max(-x, x + width - frame.width.baseVal.value);
      });
    })
"""


def test_arrows_stay_in_the_frame_of_their_group(tab, shown):
    for stage in (0, stage_named(shown, "merge_parallel_linears"), len(shown["graph"]["stages"]) - 1):
        go_to(tab, stage)
        tab.locator("#open-all").click()
        beyond = tab.evaluate(ARROWS)
        assert len(beyond) > 10 * models.LAYERS
        assert max(beyond) <= 0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_is_readable_in_both_themes(visit, theme, shown):
    tab = visit(color_scheme=theme)
    assert tab.evaluate("document.documentElement.dataset.theme") == theme
    go_to(tab, stage_named(shown, "merge_parallel_linears"))
    tab.locator("#open-all").click()
    for kind in ("secret:not(.added)", *SIGNS):
        node = tab.locator(f"#picture .node.{kind}").first
        card = node.locator(".card").evaluate("each => getComputedStyle(each).fill")
        for text in (".title", ".faint"):
            assert contrast(node.locator(text).first.evaluate("each => getComputedStyle(each).fill"), card) >= 4.5
    page = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    for selector in ("#total dt", "#total dd", ".line > i", "#legend", "footer"):
        assert contrast(tab.locator(selector).first.evaluate("each => getComputedStyle(each).color"), page) >= 4.5
    tab.get_by_role("tab", name="Source").click()
    tab.locator(".line.critical-line").first.click()
    tab.locator("#search").fill("linear")
    for line in (".line[aria-selected=true]", ".line.hit:not([aria-selected=true])", ".line.hit.critical-line"):
        back = tab.locator(line).first.evaluate("each => getComputedStyle(each).backgroundColor")
        for text in ("b", "i"):
            made = tab.locator(f"{line} > {text}").first
            assert contrast(made.evaluate("each => getComputedStyle(each).color"), back) >= 4.5
    tab.locator("#theme").click()
    assert tab.evaluate("document.documentElement.dataset.theme") != theme


@pytest.mark.parametrize("width", [390, 870, 1000, 1200, 1440])
def test_what_a_search_finds_is_on_the_screen(visit, width):
    tab = visit(viewport={"width": width, "height": 800})
    tab.locator("#search").fill("layer_norm")
    place = tab.locator("#found").bounding_box()
    assert place["x"] >= 0
    assert place["x"] + place["width"] <= width
    assert tab.evaluate("document.documentElement.scrollWidth") == width


def test_it_fits_a_phone(visit):
    tab = visit(viewport={"width": 390, "height": 844}, has_touch=True)
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    for name in ("#search", "#theme", "#previous", "#stage", "#next", "#open-all", "#trace", "#closer"):
        place = tab.locator(name).bounding_box()
        assert place["x"] >= 0
        assert place["x"] + place["width"] <= 390
        assert place["height"] >= 30
    layer = box(tab, f"g:{LAYERS[0]}")
    layer.tap()
    assert layer.get_attribute("aria-expanded") == "true"
    assert tab.evaluate("document.documentElement.scrollWidth") == 390


def test_zoom_and_drag_move_the_graph(tab):
    tab.locator("#open-all").click()
    width = tab.locator("#picture").evaluate("each => each.getBoundingClientRect().width")
    tab.keyboard.press("-")
    smaller = tab.locator("#picture").evaluate("each => each.getBoundingClientRect().width")
    assert smaller == pytest.approx(width / 1.25, rel=1e-3)
    assert tab.locator("#zoom").inner_text() != "100 %"
    place = tab.locator("#pane").bounding_box()
    x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    opened = tab.locator('#picture [aria-expanded="true"]').count()
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x, y - 150, steps=3)
    tab.mouse.up()
    assert tab.locator("#pane").evaluate("each => each.scrollTop") == 150
    assert tab.locator('#picture [aria-expanded="true"]').count() == opened


def test_the_wheel_zooms_about_the_mouse(tab):
    tab.locator("#open-all").click()
    place = box(tab, f"g:{LAYERS[0]}").locator(".bar").bounding_box()
    x, y = place["x"] + 20, place["y"] + 10
    before = tab.locator("#picture").evaluate("each => each.getBoundingClientRect().width")
    tab.locator("#pane").evaluate(
        """async (pane, [x, y]) => {
          for (const deltaY of [-30, -30, -30]) {
            const given = { deltaY, ctrlKey: true, clientX: x, clientY: y, bubbles: true, cancelable: true };
            pane.dispatchEvent(new WheelEvent("wheel", given));
          }
          await new Promise(requestAnimationFrame);
        }""",
        [x, y],
    )
    after = tab.locator("#picture").evaluate("each => each.getBoundingClientRect().width")
    assert after == pytest.approx(before * math.exp(90 / 300), rel=1e-3)
    moved = box(tab, f"g:{LAYERS[0]}").locator(".bar").bounding_box()
    assert moved["y"] + 10 * after / before == pytest.approx(y, abs=1.5)


def test_only_text_that_can_be_read_is_laid_out(tab, shown):
    tab.locator("#open-all").click()
    first, last = (tab.locator("#picture .node .title").nth(place) for place in (0, -1))
    assert first.is_visible()
    last.wait_for(state="hidden")
    tab.locator(f"#line-{shown['statements'][-1]['line']}").click()
    last.wait_for(state="visible")
    first.wait_for(state="hidden")
    tab.keyboard.press("0")
    last.wait_for(state="hidden")
    assert box(tab, f"n:{shown['statements'][-1]['node']}").locator(".card").is_visible()


def test_paper_is_white_and_holds_everything(visit, shown):
    tab = visit(color_scheme="dark", viewport={"width": 794, "height": 1123})
    tab.locator("#open-all").click()
    dark = tab.evaluate("getComputedStyle(document.body).color")
    tab.emulate_media(media="print")
    back, ink = (tab.evaluate(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color"))
    assert back == "rgb(255, 255, 255)"
    assert ink != dark
    assert tab.evaluate("document.documentElement.scrollWidth") == 794
    assert all(each.is_visible() for each in (tab.locator("#picture .node .title").nth(place) for place in (0, -1)))
    lines = tab.locator("#source").evaluate("each => [each.scrollHeight, each.clientHeight]")
    assert lines[0] == lines[1]
