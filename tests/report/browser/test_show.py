"""The page in a browser: what is on screen is what the data says, and what the mouse does."""

from __future__ import annotations

from mpccompile.report.page import page as html_of
from tests import models
from tests.report.browser.screen import (
    box,
    details,
    facts,
    go_to,
    node_names,
    rows_of,
    stage_named,
    told,
    told_bytes,
    told_seconds,
)

LAYERS = [f"bert.encoder.layer.{layer}" for layer in range(models.LAYERS)]
SIGNS = {"added": "+", "removed": "\u2212", "changed": "~"}
# What a stage shows with every group open, in one call: the browser answers some thousand of them otherwise.
STAGE_ON_SCREEN = """
    () => {
      document.getElementById("open-all").click();
      const kindOf = ({ classList }) => ["added", "removed", "changed"].find((kind) => classList.contains(kind)) || "";
      const nodes = [...document.querySelectorAll("#picture .node")];
      const texts = (selector) => [...document.querySelectorAll(selector)].map((each) => each.innerText);
      return {
        stage: document.getElementById("stage").value,
        nodes: nodes.map((node) => [node.dataset.key.slice(2), kindOf(node)]),
        chips: texts("#did .chip:is(.added, .removed, .changed)"),
        step: texts("#step")[0],
      };
    }
"""


def test_the_totals_are_those_of_the_data(tab, shown):
    known, total = facts(tab), shown["total"]
    assert known["operations"] == str(len(shown["statements"]))
    assert known["a party sends"] == told_bytes(max(total["bytes"]))
    assert known["rounds"] == f"{total['rounds']} ({total['chain']['longest_chain']} critical)"
    assert known["offline"] == told_bytes(total["offline_bytes"])
    assert known["predicted here"] == told_seconds(total["predicted"]["loopback"])
    assert known["on a LAN"] == told_seconds(total["predicted"]["lan"])
    assert known["on a WAN"] == told_seconds(total["predicted"]["wan"])
    assert known["measured"] == "100.00 s"
    assert tab.title() == f"{shown['name']} - mpccompile"


def test_it_opens_on_the_layers_with_what_each_costs(tab, shown):
    groups = tab.locator("#picture .group")
    assert set(LAYERS) < set(groups.evaluate_all("all => all.map((each) => each.dataset.key.slice(2))"))
    for layer in LAYERS:
        inside = [row for row in shown["statements"] if row["module"].startswith(f"{layer}.")]
        sent, rounds = sum(max(row["bytes"]) for row in inside), sum(row["rounds"] for row in inside)
        label = box(tab, f"g:{layer}").get_attribute("aria-label")
        assert label.startswith(f"{layer}, {told(len(inside), 'op')}")
        assert f" \u00b7 {told_bytes(sent)} \u00b7 {told(rounds, 'round')}, on the critical path" in label
        assert box(tab, f"g:{layer}").get_attribute("aria-expanded") == "false"


def test_a_click_opens_a_layer_and_another_closes_it(tab):
    layer = box(tab, f"g:{LAYERS[0]}")
    before = tab.locator("#picture [data-key]").count()
    layer.click()
    assert layer.get_attribute("aria-expanded") == "true"
    frame, inner = layer.locator(".frame").bounding_box(), box(tab, f"g:{LAYERS[0]}.attention").bounding_box()
    assert frame["x"] < inner["x"] < inner["x"] + inner["width"] < frame["x"] + frame["width"]
    assert frame["y"] < inner["y"] < inner["y"] + inner["height"] < frame["y"] + frame["height"]
    assert tab.locator("#details h2").inner_text().startswith(LAYERS[0])
    layer.locator(".bar").click()
    assert layer.get_attribute("aria-expanded") == "false"
    assert tab.locator("#picture [data-key]").count() == before


def test_opened_throughout_it_has_every_value_as_the_data_has_it(tab, shown):
    tab.locator("#open-all").click()
    rows = rows_of(shown, shown["graph"]["stages"][-1]["rows"])
    assert node_names(tab) == set(rows)
    statements = {row["node"]: row for row in shown["statements"]}
    for name, row in rows.items():
        label = box(tab, f"n:{name}").get_attribute("aria-label")
        assert label.startswith(f"input {name}" if row["op"] == "input" else row["op"])
        assert str(row["shape"]) in label
        assert ("secret" if row["secret"] else "public") in label
        statement = statements.get(name)
        sent, rounds = (max(statement["bytes"]), statement["rounds"]) if statement else (0, 0)
        assert (told_bytes(sent) in label) == bool(sent)
        assert (f", {told(rounds, 'round')}" in label or f"\u00b7 {told(rounds, 'round')}" in label) == bool(rounds)
    assert node_names(tab, ".critical") == set(rows_of(shown, shown["graph"]["stages"][-1]["path"]))
    tab.locator("#close-all").click()
    assert tab.locator('#picture [aria-expanded="true"]').count() == 0


def test_what_is_public_is_counted_apart_and_has_its_line_too(tab, shown):
    rows = rows_of(shown, shown["graph"]["stages"][-1]["rows"])
    public = [name for name, row in rows.items() if not row["secret"] and row["op"] != "input"]
    inside = [name for name in public if rows[name]["module"] == "bert"]
    assert len(inside) > 1
    assert box(tab, "g:bert").get_attribute("aria-label") == f"bert, {len(inside)} public"
    box(tab, "g:bert").click()
    box(tab, f"n:{inside[0]}").click()
    line = shown["graph"]["lines"][inside[0]]
    assert tab.locator(f"#line-{line}").get_attribute("aria-selected") == "true"
    assert details(tab)["model.py"] == f"line {line}"
    tab.locator("#lines").press("ArrowDown")
    assert box(tab, f"n:{inside[1]}").get_attribute("aria-current") == "true"


def test_boxes_do_not_lie_on_each_other(tab):
    tab.locator("#open-all").click()
    corners = "({ left, top, right, bottom }) => [left, top, right, bottom]"
    cards = f"all => all.map((each) => ({corners})(each.getBoundingClientRect()))"
    places = tab.locator("#picture .node > .card").evaluate_all(cards)
    assert len(places) > 40
    for index, one in enumerate(places):
        for other in places[:index]:
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def test_an_arrow_that_leads_back_up_arrives_from_below(tab):
    ends = "points => head(points).match(/[-\\d.]+ [-\\d.]+/g).map((pair) => Number(pair.split(' ')[1]))"
    assert tab.evaluate(ends, [[0, 0], [0, 50]]) == [43, 43, 50]
    *wide, tip = tab.evaluate(ends, [[0, 90], [0, 50]])
    assert min(wide) > tip >= 50


def test_a_wrapper_around_the_model_is_no_layer(visit, shown, tmp_path):
    def wrapped(rows):
        return [row | {"module": f"m.{row['module']}"} for row in rows]

    graph = shown["graph"] | {"rows": wrapped(shown["graph"]["rows"])}
    path = tmp_path / "show.html"
    path.write_text(html_of(shown | {"statements": wrapped(shown["statements"]), "graph": graph}), encoding="utf-8")
    tab = visit(path.as_uri())
    keys = tab.locator("#picture .group").evaluate_all("all => all.map((each) => each.dataset.key)")
    assert {"g:m.bert.embeddings", *(f"g:m.{layer}" for layer in LAYERS)} <= set(keys)


def test_a_value_is_shown_with_its_line_and_the_line_with_its_value(tab, shown):
    index, row = next(each for each in enumerate(shown["statements"]) if each[1]["op"] == "attend")
    line = tab.locator(f"#line-{row['line']}")
    line.click()
    assert line.get_attribute("aria-selected") == "true"
    node = box(tab, f"n:{row['node']}")
    assert node.get_attribute("aria-current") == "true"
    assert node.is_visible()
    known = details(tab)
    assert tab.locator("#details h2").inner_text().startswith("attend")
    assert known["shape"] == str(row["shape"])
    assert known["sends"] == f"party 0: {told_bytes(row['bytes'][0])}, party 1: {told_bytes(row['bytes'][1])}"
    assert known["rounds"] == str(row["rounds"])
    here, lan, wan = (told_seconds(row["predicted"][place]) for place in ("loopback", "lan", "wan"))
    assert known["predicted"] == f"{here} here, {lan} on a LAN, {wan} on a WAN"
    assert known["measured"] == "500 ms"
    assert (known["module"], known["your source"]) == (row["module"], row["source"])
    following = shown["statements"][index + 1]
    box(tab, f"n:{following['node']}").click()
    assert tab.locator(f"#line-{following['line']}").get_attribute("aria-selected") == "true"
    assert line.get_attribute("aria-selected") == "false"


def test_every_pass_shows_what_it_added_removed_and_changed(tab, shown):
    passes, stages = shown["passes"], shown["graph"]["stages"]
    assert tab.locator("#stage option").count() == len(stages) == len(passes) + 2
    go_to(tab, 0)
    for index, each in enumerate(passes, 1):
        tab.keyboard.press("]")
        seen = tab.evaluate(STAGE_ON_SCREEN)
        assert seen["stage"] == str(index)
        stage = stages[index]
        expected = {
            "added": set(rows_of(shown, stage["added"])),
            "removed": set(rows_of(shown, stage["removed"])),
            "changed": set(rows_of(shown, [now for _, now in stage["changed"]])),
        }
        assert {kind: {name for name, one in seen["nodes"] if one == kind} for kind in SIGNS} == expected
        assert {name for name, _ in seen["nodes"]} == set(rows_of(shown, stage["rows"])) | expected["removed"]
        assert seen["chips"] == [
            f"{sign}{len(expected[kind])} {kind}" for kind, sign in SIGNS.items() if expected[kind]
        ]
        assert each["reason"]
        assert each["reason"] in seen["step"]
    tab.keyboard.press("]")
    assert tab.locator("#next").is_disabled()
    assert node_names(tab, ":is(.added, .removed, .changed)") == set()
    tab.keyboard.press("[")
    assert tab.locator("#stage").input_value() == str(len(passes))


def test_what_is_told_of_a_module_is_of_the_stage_on_the_screen(tab, shown):
    index = stage_named(shown, "merge_parallel_linears")
    stage = shown["graph"]["stages"][index]
    for path in ("", f"{LAYERS[0]}."):
        if path:
            box(tab, f"g:{LAYERS[0]}").click()
        go_to(tab, index)
        inside = [row for row in rows_of(shown, stage["rows"]).values() if row["module"].startswith(path)]
        rows = [row for row in inside if row["op"] != "input"]
        added = [row for row in rows_of(shown, stage["added"]).values() if row["module"].startswith(path)]
        known = details(tab)
        assert known["operations"] == str(sum(row["secret"] for row in rows))
        assert known["rounds"] == f"{sum(row['rounds'] for row in rows)}, estimated, one by one"
        assert known["this pass"].startswith(f"+{len(added)} ")
        go_to(tab, len(shown["graph"]["stages"]) - 1)
        assert "estimated" not in details(tab)["rounds"]


def test_a_pass_that_only_reorders_says_how_many_it_moved(tab, shown):
    index = stage_named(shown, "schedule_rounds")
    stage = shown["graph"]["stages"][index]
    assert stage["moved"]
    assert not stage["added"] + stage["removed"] + stage["changed"]
    assert tab.locator("#stage option").nth(index).inner_text() == f"{index}. schedule_rounds ({stage['moved']} moved)"
    go_to(tab, index)
    assert tab.locator("#did .chip").inner_text() == f"{stage['moved']} moved"


def test_a_removed_value_says_why_and_what_is_read_instead(tab, shown):
    index = stage_named(shown, "merge_parallel_linears")
    stage = shown["graph"]["stages"][index]
    name = next(name for name, row in rows_of(shown, stage["removed"]).items() if row["op"] == "linear")
    go_to(tab, index)
    tab.locator("#open-all").click()
    removed = box(tab, f"n:{name}")
    (why,) = [sentence for sentence, names in stage["why"].items() if name in names]
    assert why != shown["passes"][index - 1]["reason"]
    assert f"removed by merge_parallel_linears: {why}" in removed.get_attribute("aria-label")
    removed.click()
    known = details(tab)
    assert known["why"] == why
    assert why in tab.locator("#step").inner_text()
    assert known["instead"] == f"%{stage['became'][name]}"
    assert "removed by merge_parallel_linears" in known["history"]
    tab.get_by_role("button", name=known["instead"], exact=True).click()
    assert box(tab, f"n:{stage['became'][name]}").get_attribute("aria-current") == "true"


def test_the_critical_path_stands_out(tab):
    faded = "each => getComputedStyle(each).opacity"
    tab.locator("#open-all").click()
    on, off = tab.locator("#picture .node.critical").first, tab.locator("#picture .node:not(.critical)").first
    assert (on.evaluate(faded), off.evaluate(faded)) == ("1", "1")
    tab.keyboard.press("c")
    assert tab.locator("#trace").get_attribute("aria-pressed") == "true"
    assert on.evaluate(faded) == "1"
    assert float(off.evaluate(faded)) < 0.5


def test_costs_by_module_open_down_to_the_operations(tab, shown):
    tab.get_by_role("tab", name="Costs").click()
    layer = tab.locator(f'[data-key="m{LAYERS[1]}"]')
    module = shown["modules"]
    for part in LAYERS[1].split("."):
        module = next(child for child in module["children"] if child["name"] == part)
    cells = layer.locator(":scope > span").all_inner_texts()
    assert cells[1:4] == [str(module["count"]), told_bytes(max(module["bytes"])), str(module["rounds"])]
    assert cells[4] == f"{module['seconds']:.2f} s"
    whole = tab.locator('[data-key="m"] > span').all_inner_texts()
    assert whole[4] == details(tab)["measured"] == "100.00 s"
    layer.click()
    assert layer.get_attribute("aria-expanded") == "true"
    layer.press("ArrowDown")
    assert tab.evaluate("document.activeElement.dataset.key").startswith(f"m{LAYERS[1]}.")


def test_without_graphs_it_shows_the_costs_the_source_and_the_passes(visit, shown, tmp_path):
    path = tmp_path / "show.html"
    path.write_text(html_of({**shown, "graph": None}), encoding="utf-8")
    tab = visit(path.as_uri())
    assert not tab.locator("#tab-graph").is_visible()
    assert tab.locator("#tree [role=treeitem]").count() > models.LAYERS
    row = shown["statements"][-1]
    tab.locator(f"#line-{row['line']}").click()
    assert details(tab)["shape"] == str(row["shape"])
    for _ in shown["passes"]:
        tab.keyboard.press("[")
    assert tab.locator("#step h2").first.inner_text().startswith(shown["passes"][0]["name"])
    assert "no graphs.json" in tab.locator("#step").inner_text()


def test_without_passes_it_shows_what_was_captured_and_runs(visit, shown, tmp_path):
    last = shown["graph"]["stages"][-1]
    stages = [{**last, "name": "captured"}, last]
    path = tmp_path / "show.html"
    path.write_text(html_of({**shown, "passes": [], "graph": {**shown["graph"], "stages": stages}}), encoding="utf-8")
    tab = visit(path.as_uri())
    assert tab.locator("#stage option").all_inner_texts() == ["Captured from the model", "Compiled: what runs"]
    tab.keyboard.press("[")
    assert tab.locator("#previous").is_disabled()
    assert box(tab, f"g:{LAYERS[0]}").is_visible()


def test_a_hostile_name_is_text_on_the_screen(visit, shown, tmp_path):
    name = "<img src=x onerror=alert(1)>"
    path = tmp_path / "show.html"
    path.write_text(html_of({**shown, "name": name}), encoding="utf-8")
    tab = visit(path.as_uri())
    assert tab.locator("h1").inner_text() == name
    assert tab.locator("img").count() == 0


def test_history_is_that_of_the_value_and_not_of_an_earlier_one_of_its_name(tab, shown):
    stages = shown["graph"]["stages"]
    gone = {
        name: index for index, stage in reversed(list(enumerate(stages))) for name in rows_of(shown, stage["removed"])
    }
    again = [
        (name, index)
        for index, stage in enumerate(stages)
        for name in rows_of(shown, stage["added"])
        if gone.get(name, index) < index
    ]
    name, index = again[0]
    go_to(tab, index)
    tab.locator("#open-all").click()
    box(tab, f"n:{name}").click()
    assert details(tab)["history"].startswith(f"added by {stages[index]['name']}")
    assert stages[gone[name]]["name"] not in details(tab)["history"]
