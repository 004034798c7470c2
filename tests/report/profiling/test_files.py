"""What a profile writes, and that it is the same each time."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from mpccompile.errors import InputError
from mpccompile.report.profiling.charts import MOST_BARS, drawn
from mpccompile.report.profiling.files import Files, svg, table, write
from mpccompile.report.profiling.page import page

CHARTS = ["timeline", "layers", "operations", "predicted", "against"]


@pytest.fixture(scope="module")
def charts(measured):
    return {name: svg(figure) for name, figure in drawn(measured).items()}


def texts(chart):
    return ["".join(each.itertext()) for each in ET.fromstring(chart).iter("{http://www.w3.org/2000/svg}text")]


def test_a_row_of_the_table_is_a_statement(profiled, measured):
    package, profile = profiled
    rows = list(csv.DictReader(io.StringIO(table(measured))))
    assert [int(row["line"]) for row in rows] == [*(each.line for each in package.statements), 0]
    assert sum(int(row["bytes_sent_1"]) for row in rows) == profile.bytes_sent[1]
    assert sum(int(row["rounds"]) for row in rows) == profile.rounds
    here = sum(float(row["computing_seconds"]) + float(row["message_seconds"]) for row in rows)
    assert here == pytest.approx(profile.online_seconds)
    assert sum(float(row["wan_seconds"]) for row in rows) > sum(float(row["lan_seconds"]) for row in rows) > here


def test_charts_name_what_they_show(measured, charts):
    assert list(charts) == CHARTS
    assert {part.name for part in measured.layers} <= set(texts(charts["layers"]))
    assert {part.name for part in measured.operations} <= set(texts(charts["operations"]))
    assert {"this machine", "LAN: 1 Gbit/s, 0.5 ms", "WAN: 100 Mbit/s, 40 ms"} <= set(texts(charts["layers"]))
    assert {"dealer", "party 0", "party 1"} <= set(texts(charts["timeline"]))
    assert {"this program", "plaintext torch"} <= set(texts(charts["against"]))


def test_a_chart_is_the_same_each_time(measured, charts):
    assert {name: svg(figure) for name, figure in drawn(measured).items()} == charts


def test_only_what_is_known_is_drawn_and_told(measured):
    less = replace(measured, spans=(), costs=(), agrees=None, expected=None)
    assert list(drawn(less)) == ["layers", "operations"]
    rows = list(csv.DictReader(io.StringIO(table(less))))
    assert {value for row in rows for name, value in row.items() if name.startswith("predicted")} == {""}
    assert all(row["rounds"] for row in rows)
    told = less.to_json()
    for part in (*told["layers"], *told["operations"], told["total"]):
        assert [part[f"predicted_{name}"] for name in ("bytes", "rounds", "seconds")] == [None] * 3
    assert "predicted" not in page(less, {name: svg(figure) for name, figure in drawn(less).items()})


def test_messages_that_nothing_tells_apart_are_called_so(measured, charts):
    layers = tuple(replace(part, computing=part.seconds, wire=0.0) for part in measured.layers)
    less = replace(measured, spans=(), layers=layers, total=replace(measured.total, wire=0.0))
    drawn_so = {"layers": svg(drawn(less)["layers"])}
    assert "computing and messages here" in texts(drawn_so["layers"])
    assert {"computing", "messages here"}.isdisjoint(texts(drawn_so["layers"]))
    assert {"computing", "messages here"} <= set(texts(charts["layers"]))
    assert "which nothing tells apart" in page(less, drawn_so)
    assert "which nothing tells apart" not in page(measured, charts)


def test_many_layers_are_drawn_as_the_slowest_and_the_rest(measured):
    first = measured.layers[0]
    layers = tuple(replace(first, name=f"h.{layer}", computing=float(layer)) for layer in range(MOST_BARS + 5))
    shown = texts(svg(drawn(replace(measured, layers=layers))["layers"]))
    assert "(6 others)" in shown
    assert "h.6" in shown
    assert "h.5" not in shown


def test_the_page_has_every_chart_and_number_and_loads_nothing(measured, charts):
    html = page(measured, charts)
    assert html.count("<svg") == len(CHARTS) - 1
    assert '<canvas id="lanes"' in html
    assert html.count("<td>exact</td>") == len(measured.layers) + len(measured.operations) + 2
    assert f"{max(measured.total.bytes_sent) / 1e6:.3f} MB" in html
    assert "default-src 'none'" in html
    # Names of formats look like addresses, and lead nowhere.
    names = re.sub(r'xmlns(:\w+)?="[^"]*"', "", html)
    assert not re.search(r"https?:|@import|url\((?!#)|src=", names)
    assert not re.search(r'href="(?!#)', names)
    assert page(measured, charts) == html


def test_a_page_without_a_timeline_has_none(measured, charts):
    html = page(replace(measured, spans=()), {"layers": charts["layers"]})
    assert "<canvas" not in html
    assert html.count("<svg") == 1


def test_a_hostile_name_stays_text(measured, charts):
    hostile = "</script><script>alert(1)</script>"
    html = page(replace(measured, name=hostile), charts)
    assert "<script>alert" not in html


def test_only_what_is_asked_for_is_written(measured, tmp_path):
    write(measured, Files.named(trace=tmp_path / "trace.json"))
    assert [path.name for path in tmp_path.iterdir()] == ["trace.json"]
    write(measured, Files.named(charts=tmp_path / "charts"))
    assert sorted(path.name for path in (tmp_path / "charts").iterdir()) == sorted(
        f"{name}.{kind}" for name in CHARTS for kind in ("png", "svg")
    )
    assert (tmp_path / "charts" / "layers.png").read_bytes().startswith(b"\x89PNG")


def test_a_place_that_cannot_be_written_is_told(measured, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made"):
        write(measured, Files.named(charts=tmp_path / "file"))
    with pytest.raises(InputError, match="cannot be written"):
        write(measured, Files.named(csv=tmp_path / "file" / "table.csv"))
