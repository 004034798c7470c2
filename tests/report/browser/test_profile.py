"""The page of a profile in a browser: its numbers, its timeline under mouse and keys, both themes, phone and paper."""

from __future__ import annotations

import pytest

from mpccompile.report.compare import Cost
from mpccompile.report.profile import Profile
from mpccompile.report.profiling.breakdown import LAN, WAN, breakdown
from mpccompile.report.profiling.charts import drawn
from mpccompile.report.profiling.files import svg
from mpccompile.report.profiling.page import page
from mpccompile.runtime.session import CallReport
from mpccompile.runtime.timeline import COMPUTE, PREPARE, WIRE, Span
from tests.report.browser.screen import contrast

MILLISECOND = 1e-3
MADE = 0.04
"""Seconds that the randomness takes, before the call."""
# Of a copy: the browser warns of reading a canvas that is drawn to.
PIXEL = """
    (canvas, [x, y]) => {
      const [scale, copy] = [window.devicePixelRatio, new OffscreenCanvas(1, 1).getContext("2d")];
      copy.drawImage(canvas, -x * scale, -y * scale);
      return [...copy.getImageData(0, 0, 1, 1).data].slice(0, 3);
    }
"""


def spans_of(package):
    """Return a timeline: each statement computes for a millisecond at both parties, then sends for another."""
    spans = [Span("dealer", PREPARE, 0, 0.0, MADE)]
    for place, statement in enumerate(package.statements):
        begin = MADE + 2 * place * MILLISECOND
        for role in ("0", "1"):
            spans.append(Span(role, COMPUTE, statement.line, begin, begin + MILLISECOND))
            spans.append(Span(role, WIRE, statement.line, begin + MILLISECOND, begin + 2 * MILLISECOND, 100 + place))
    return tuple(spans)


@pytest.fixture(scope="module")
def measured(package):
    seconds = tuple((each.line, 2 * MILLISECOND) for each in package.statements)
    traffic = tuple((row.line, *row.bytes_sent, row.rounds) for row in package.traffic)
    report = CallReport(1.0, MADE, traffic, seconds, spans=spans_of(package))
    profile = Profile.of(package, report)
    costs = (profile.cost("this program", 1e-5), Cost("plaintext", 0.01), Cost("crypten", 3.0, 0.5, 9e6, 1e6, 700))
    return breakdown(package, Profile(**{**vars(profile), "costs": costs}))


@pytest.fixture(scope="module")
def profile_page(measured, tmp_path_factory):
    path = tmp_path_factory.mktemp("profile") / "profile.html"
    path.write_text(page(measured, {name: svg(figure) for name, figure in drawn(measured).items()}), encoding="utf-8")
    return path.as_uri()


def cells(tab, section, row):
    table = tab.locator(f"section[aria-labelledby={section}] table")
    heads = table.locator("thead th").all_text_contents()
    return dict(zip(heads, table.locator("tbody tr").nth(row).locator("th, td").all_text_contents(), strict=True))


def test_the_tables_have_what_was_measured_and_predicted(visit, measured, profile_page):
    tab = visit(profile_page)
    for section, parts in (("layers", measured.layers), ("operations", measured.operations)):
        for row, part in enumerate([*parts, measured.total]):
            known = cells(tab, section, row)
            assert known["rounds"] == str(part.rounds)
            assert known["party 1 sends"] == f"{part.bytes_sent[1] / 1e6:.3f} MB"
            assert known["bytes, rounds predicted"] == "exact"
            assert known["here"] == f"{part.seconds:.4f} s"
            assert known["predicted here"] == f"{part.predicted_seconds:.4f} s"
            assert known["WAN"] == f"{part.seconds + part.over(WAN):.4f} s"
            assert known["LAN"] == f"{part.seconds + part.over(LAN):.4f} s"
    assert cells(tab, "against", 2)["way"] == "stock CrypTen"


def test_a_table_is_as_wide_as_the_page(visit, profile_page):
    tab = visit(profile_page)
    tab.locator("summary").first.click()
    around = tab.locator("section[aria-labelledby=layers] .scroll").nth(1)
    assert around.evaluate("each => each.scrollWidth - each.clientWidth") == 0


def test_the_mouse_reads_the_timeline(visit, package, profile_page):
    tab = visit(profile_page)
    told, place = tab.locator("#told"), tab.locator("#lanes").bounding_box()
    first = package.statements[0]
    tab.mouse.move(place["x"] + 62 + 1, place["y"] + 80)
    assert told.inner_text().startswith(f"party 0: {first.op}, 1.000 ms, line {first.line}")
    tab.mouse.move(place["x"] + place["width"] - 2, place["y"] + 130)
    last = len(package.statements) - 1
    assert told.inner_text().startswith(f"party 1: message of {package.statements[last].op}, {100 + last} bytes")
    tab.mouse.move(5, 5)
    assert told.inner_text().strip() == ""


def test_the_keys_read_the_timeline(visit, package, profile_page):
    tab = visit(profile_page)
    told = tab.locator("#told")
    tab.locator("#lanes").focus()
    tab.keyboard.press("ArrowDown")
    assert told.inner_text() == "dealer: nothing"
    tab.keyboard.press("ArrowDown")
    middle = told.inner_text()
    lines = [str(each.line) for each in package.statements]
    assert middle.startswith("party 0: ")
    line = middle.split("line ")[1].split(",")[0]
    assert abs(lines.index(line) - len(lines) // 2) <= 1
    tab.keyboard.press("+")
    tab.keyboard.press("ArrowRight")
    assert lines.index(told.inner_text().split("line ")[1].split(",")[0]) > lines.index(line)
    tab.keyboard.press("+")
    for _ in range(100):
        tab.keyboard.press("ArrowLeft")
    for _ in range(3):
        tab.keyboard.press("ArrowUp")
    assert told.inner_text() == "dealer: randomness, 40.000 ms"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_messages_can_be_seen_in_both_themes(visit, theme, profile_page):
    tab = visit(profile_page, color_scheme=theme)
    back = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    for selector in ("h1", "h2", "p", "dt", "summary", "#legend li", "thead th"):
        assert contrast(tab.locator(selector).first.evaluate("each => getComputedStyle(each).color"), back) >= 4.5
    for ink in {each.evaluate("each => getComputedStyle(each).fill") for each in tab.locator(".chart text").all()[:30]}:
        assert contrast(ink, back) >= 4.5
    width = tab.locator("#lanes").bounding_box()["width"]
    message = "rgb({}, {}, {})".format(*tab.locator("#lanes").evaluate(PIXEL, [width - 2, 80]))
    assert contrast(message, back) >= 1.5
    assert contrast(message, back) < 4.5


def test_it_fits_a_phone(visit, profile_page):
    tab = visit(profile_page, viewport={"width": 390, "height": 844}, has_touch=True)
    assert tab.evaluate("document.documentElement.scrollWidth") == 390


def test_paper_is_white_and_the_timeline_too(visit, profile_page):
    tab = visit(profile_page, color_scheme="dark")
    lanes = tab.locator("#lanes")
    dark = lanes.evaluate(PIXEL, [lanes.bounding_box()["width"] - 2, 80])
    tab.emulate_media(media="print")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert sum(lanes.evaluate(PIXEL, [lanes.bounding_box()["width"] - 2, 80])) > sum(dark) + 200
