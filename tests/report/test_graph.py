"""The graph of each stage is that of the package, and says what each pass made of the one before."""

from __future__ import annotations

from itertools import pairwise

import pytest

from mpccompile import compiler
from mpccompile.codegen import package as packages
from mpccompile.codegen.graphs import Graphs
from mpccompile.ir.snapshot import Seen
from mpccompile.options import Options
from mpccompile.report.graph import NOT_READ, READS_ANOTHER, critical_path, graph, reasons, through
from mpccompile.report.stages import changes_of
from tests import models


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    model, inputs = models.bert()
    return compiler.build(model, inputs, tmp_path_factory.mktemp("graph") / "bert", options=Options())


@pytest.fixture(scope="module")
def graphs(package):
    return packages.read_graphs(package.folder)


@pytest.fixture(scope="module")
def drawn(graphs):
    return graph(graphs)


def stage_of(drawn, name):
    return next(each for each in drawn["stages"] if each["name"] == name)


def names(drawn, numbers):
    return [drawn["rows"][number]["name"] for number in numbers]


def test_every_stage_has_the_values_of_its_graph(graphs, drawn):
    assert [each["name"] for each in drawn["stages"]] == [*graphs.stages, "compiled"]
    for name, seen in graphs.stages.items():
        rows = [drawn["rows"][number] for number in stage_of(drawn, name)["rows"]]
        assert [(row["name"], row["text"], row["secret"]) for row in rows] == [
            (row.name, row.text, row.secret) for row in seen
        ]
    assert stage_of(drawn, "compiled")["rows"] == drawn["stages"][-2]["rows"]


def test_changes_lead_from_one_stage_to_the_next(drawn):
    for before, after in pairwise(drawn["stages"]):
        left = set(names(drawn, before["rows"])) - set(names(drawn, after["removed"]))
        assert left | set(names(drawn, after["added"])) == set(names(drawn, after["rows"]))
        assert all(names(drawn, [old]) == names(drawn, [new]) for old, new in after["changed"])


def test_every_change_has_its_reason(drawn):
    for stage in drawn["stages"]:
        changed = {*stage["added"], *stage["removed"], *(new for _, new in stage["changed"])}
        told = [name for names in stage["why"].values() for name in names]
        assert len(told) == len(set(told))
        # A pass of one rule says the same of all that it adds.
        assert set(told) <= set(names(drawn, changed))
        assert set(told) >= set(names(drawn, [*stage["removed"], *(new for _, new in stage["changed"])])), stage["name"]
    (merged,) = stage_of(drawn, "merge_parallel_linears")["why"].keys() - {NOT_READ, READS_ANOTHER}
    assert merged == "Linears of one input became one; each is a part of its result."


def test_a_value_that_nothing_explains_follows_from_another():
    def seen(name, *reads, text=""):
        return Seen(name, "add", "", "", (2,), True, text or f"{name} {reads}", reads)

    before = seen("a"), seen("b", "a"), seen("c", "b"), seen("d", "c")
    after = seen("a"), seen("e", "a"), seen("d", "e")
    told = reasons(changes_of(before, after), {"It is cheaper.": ["b", "e", "f"]})
    assert told == {"It is cheaper.": ["e", "b"], NOT_READ: ["c"], READS_ANOTHER: ["d"]}


def test_a_pass_shows_what_it_merged(drawn, package):
    merged = stage_of(drawn, "merge_parallel_linears")
    removed = [drawn["rows"][number] for number in merged["removed"]]
    assert [row["op"] for row in removed].count("linear") == 3 * models.LAYERS - 1
    added = [drawn["rows"][number] for number in merged["added"]]
    assert "take" in {row["op"] for row in added}
    assert set(merged["became"].values()) <= {row["name"] for row in added}
    assert {row["name"] for row in removed if row["op"] == "linear"} <= set(merged["became"])
    idle = next(each for each in package.history if not each.changes)
    still = stage_of(drawn, idle.name)
    assert (still["added"], still["removed"], still["changed"], still["moved"]) == ([], [], [], 0)


def test_bytes_and_rounds_of_a_stage_are_what_its_pass_was_priced_at(drawn, package):
    for index, record in enumerate(package.history):
        rows = [drawn["rows"][number] for number in drawn["stages"][index + 1]["rows"]]
        assert sum(row["bytes"] for row in rows) == record.online_bytes_after
        assert sum(row["rounds"] for row in rows) == record.rounds_after


def test_every_pass_says_what_it_is_for(package):
    assert all(record.reason.endswith(".") for record in package.history)


def test_the_path_of_what_runs_is_the_chain_with_what_lies_between(graphs, drawn):
    path = names(drawn, stage_of(drawn, "compiled")["path"])
    reads = {row.name: row.reads for row in list(graphs.stages.values())[-1]}
    assert all(one in reads[other] for one, other in pairwise(path))
    assert [name for name in path if name in graphs.chain] == [name for name in graphs.chain if name in reads]


def seen(name, *reads, rounds=0, sent=0):
    return Seen(name, "add", "block", "file.py:1", (2,), True, name, reads, sent, rounds)


DIAMOND = (seen("x"), seen("a", "x", rounds=1), seen("b", "x", rounds=3), seen("c", "b"), seen("d", "a", "c", rounds=1))


def test_the_critical_path_is_the_chain_with_most_rounds():
    assert critical_path(DIAMOND) == ["b", "c", "d"]
    assert critical_path(DIAMOND[:1]) == []
    assert through(DIAMOND, ["b", "d"]) == ["b", "c", "d"]
    assert through(DIAMOND, []) == []


def test_a_value_that_only_costs_otherwise_is_not_changed_but_kept_apart():
    drawn = graph(Graphs({"captured": (seen("a", sent=5),), "one": (seen("a", sent=3),)}, {}, ()))
    assert [each["changed"] for each in drawn["stages"]] == [[], [], []]
    assert [drawn["rows"][each["rows"][0]]["bytes"] for each in drawn["stages"]] == [5, 3, 3]
