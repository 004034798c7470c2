"""What changed between two graphs."""

from __future__ import annotations

import pytest

from mpccompile.ir.snapshot import Seen
from mpccompile.report.stages import changes_of


def seen(name, text=""):
    return Seen(name, "add", "block", "file.py:1", (2,), True, text, ())


def test_values_are_added_removed_and_changed():
    found = changes_of((seen("a", "old"), seen("b")), (seen("a", "new"), seen("c")))
    assert [row.name for row in found.added] == ["c"]
    assert [row.name for row in found.removed] == ["b"]
    assert [(was.text, now.text) for was, now in found.changed] == [("old", "new")]
    assert found.moved == 0


@pytest.mark.parametrize(("after", "moved"), [("abcd", 0), ("bcda", 1), ("dcba", 3), ("bxacd", 1), ("bd", 0)])
def test_as_few_moved_as_can_be(after, moved):
    assert changes_of(tuple(map(seen, "abcd")), tuple(map(seen, after))).moved == moved
