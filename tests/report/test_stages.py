"""What changed between two graphs."""

from __future__ import annotations

import pytest

from mpccompile.codegen.graphs import Graphs
from mpccompile.ir.snapshot import Seen
from mpccompile.report.stages import changes_of, stage_json


def seen(name, text=""):
    return Seen(name, "add", "block", "file.py:1", (2,), True, text, ())


def test_values_are_added_removed_and_changed():
    found = changes_of((seen("a", "old"), seen("b")), (seen("a", "new"), seen("c")))
    assert [row.name for row in found.added] == ["c"]
    assert [row.name for row in found.removed] == ["b"]
    assert [(was.text, now.text) for was, now in found.changed] == [("old", "new")]
    assert found.moved == 0


def test_changes_as_json():
    graphs = Graphs({"captured": (seen("a", "old"), seen("b")), "fold": (seen("a", "new"), seen("c"))}, {}, ())
    told = stage_json(graphs, "fold", diff=True)
    assert (told["before"], told["after"], told["moved"]) == ("captured", "fold", 0)
    assert [row["name"] for row in told["added"]] == ["c"]
    assert [row["name"] for row in told["removed"]] == ["b"]
    assert [[row["text"] for row in pair] for pair in told["changed"]] == [["old", "new"]]
    assert [row["name"] for row in stage_json(graphs, "optimised", diff=False)["values"]] == ["a", "c"]


@pytest.mark.parametrize(("after", "moved"), [("abcd", 0), ("bcda", 1), ("dcba", 3), ("bxacd", 1), ("bd", 0)])
def test_as_few_moved_as_can_be(after, moved):
    assert changes_of(tuple(map(seen, "abcd")), tuple(map(seen, after))).moved == moved
