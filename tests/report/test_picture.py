"""A picture holds what the package holds, and its page nothing that could leave it or load something."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from mpccompile import compiler
from mpccompile.codegen import package as packages
from mpccompile.errors import InputError
from mpccompile.options import Options
from mpccompile.report.page import page
from mpccompile.report.picture import picture
from mpccompile.report.profile import Profile
from mpccompile.runtime.session import CallReport
from tests import models

HOSTILE = "a</script><script>alert(1)</script><!--&\u2028"


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    model, inputs = models.bert()
    return compiler.build(model, inputs, tmp_path_factory.mktemp("picture") / "bert", options=Options())


@pytest.fixture(scope="module")
def source(package):
    return (package.folder / "model.py").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def shown(package, source):
    return picture(package, source, packages.read_graphs(package.folder))


def embedded(html):
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, flags=re.DOTALL)
    return json.loads(text)


def test_statements_are_the_packages(package, shown):
    traffic = {row.line: row for row in package.traffic}
    assert len(shown["statements"]) == len(package.statements)
    for row, statement in zip(shown["statements"], package.statements, strict=True):
        assert (row["line"], row["op"], row["module"], row["source"], tuple(row["shape"])) == (
            statement.line,
            statement.op,
            statement.module_path,
            statement.source,
            statement.shape,
        )
        assert row["bytes"] == list(traffic[row["line"]].bytes_sent if row["line"] in traffic else (0, 0))
        assert row["rounds"] == (traffic[row["line"]].rounds if row["line"] in traffic else 0)
        assert (
            f"{row['variable']} = " in shown["source"][row["line"] - 1] or row["op"] in shown["source"][row["line"] - 1]
        )


def test_totals_are_those_of_the_plan(package, shown):
    assert shown["total"]["rounds"] == sum(row.rounds for row in package.traffic)
    assert shown["total"]["bytes"] == [sum(row.bytes_sent[rank] for row in package.traffic) for rank in (0, 1)]
    assert shown["total"]["offline_bytes"] == package.offline_bytes


def test_every_statement_is_in_one_module_whose_costs_add_up(shown):
    found = []

    def visit(module):
        inside = [*module["own"], *(index for child in module["children"] for index in visit(child))]
        found.extend(module["own"])
        assert module["count"] == len(inside)
        assert module["rounds"] == sum(shown["statements"][index]["rounds"] for index in inside)
        assert all(shown["statements"][index]["module"] == module["path"] for index in module["own"])
        return inside

    visit(shown["modules"])
    assert sorted(found) == list(range(len(shown["statements"])))


def test_secrecy_and_the_critical_path_are_those_of_the_graph(package, shown):
    graphs = packages.read_graphs(package.folder)
    last = {row.name: row for row in list(graphs.stages.values())[-1]}
    assert all(row["secret"] == last[row["node"]].secret for row in shown["statements"])
    critical = [row["node"] for row in shown["statements"] if row["critical"]]
    assert critical == [name for name in graphs.chain if name in last]
    assert package.rounds.longest_chain >= sum(row["rounds"] for row in shown["statements"] if row["critical"]) > 0


def test_a_package_without_graphs_shows_the_rest(package, source):
    shown = picture(package, source)
    assert shown["graph"] is None
    assert [each["name"] for each in shown["passes"]] == [record.name for record in package.history]
    assert all(row["secret"] is None for row in shown["statements"])


def profile_of(package):
    lines = tuple((statement.line, 0.5) for statement in package.statements)
    rows = tuple((row.line, *row.bytes_sent, row.rounds) for row in package.traffic)
    report = CallReport(traffic=rows, online_seconds=100.0, offline_seconds=0.0, line_seconds=lines)
    return json.loads(json.dumps(Profile.of(package, report).to_json()))


def test_a_profile_gives_measured_seconds(package, source):
    shown = picture(package, source, profile=profile_of(package))
    assert {row["seconds"] for row in shown["statements"]} == {0.5}
    assert shown["measured"] == 100.0
    assert shown["modules"]["seconds"] == 0.5 * len(package.statements)


@pytest.mark.parametrize("damage", [{"rows": 3}, {"online_seconds": None}, {"rows": []}, {"rows": [{"op": "x"}, {}]}])
def test_another_profile_is_refused(package, source, damage):
    with pytest.raises(InputError, match="profile"):
        picture(package, source, profile={**profile_of(package), **damage})


def test_the_page_holds_the_same_and_is_the_same_each_time(shown):
    html = page(shown)
    assert embedded(html) == json.loads(json.dumps(shown))
    assert page(shown) == html


def test_the_page_loads_nothing(shown):
    html = page(shown)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|src=|href=", html.replace(json.dumps(shown), ""))
    assert "default-src 'none'" in html


def test_a_hostile_name_stays_text(package, source):
    statements = tuple(replace(each, module_path=HOSTILE, source=HOSTILE) for each in package.statements)
    shown = picture(replace(package, name=HOSTILE, statements=statements), source)
    html = page(shown)
    assert html.count("<script") == html.count("</script>") == 3
    assert "alert(1)</script>" not in html
    assert "<!--" not in html
    assert embedded(html)["name"] == HOSTILE
    assert embedded(html)["statements"][0]["module"] == HOSTILE
