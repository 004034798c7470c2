"""Passes are timed, priced and held to the captured model's answers."""

from __future__ import annotations

import math

import pytest
import torch

from mpccompile.errors import PassFailed
from mpccompile.ir import ops
from mpccompile.ir.differences import relative_error
from mpccompile.ir.edit import NOTE, edited
from mpccompile.passes.driver import run_passes
from tests.passes.build import Builder, values


def chain():
    b = Builder()
    y = b.call(ops.linear, b.input("x", values(2, 4)), b.weight("w", 3, 4), b.weight("b", 3))
    return b.program(b.call(ops.gelu, b.call(ops.mul, y, 1.0)))


def drop_the_one(program):
    edit = edited(program)
    for node in edit.nodes:
        if node.target is ops.mul:
            edit.replace(node, node.args[0])
        elif node.target is ops.gelu:
            edit.skip(node, "it is no product")
    return edit.done()


def lose_the_bias(program):
    edit = edited(program)
    for node in edit.nodes:
        if node.target is ops.linear:
            edit.change(node, bias=None)
    return edit.done()


def leave_out_the_value(program):
    edit = edited(program)
    for node in edit.nodes:
        if node.target is ops.gelu:
            edit.change(node, approximate="none")
            del node.meta["val"]
    return edit.done()


def test_a_record_says_what_a_pass_did():
    seen = []
    result = run_passes(chain(), [drop_the_one], observer=lambda *each: seen.append(each))
    (record,) = result.history
    assert seen == [(result, record)]
    assert (record.name, record.changes, record.nodes_before, record.nodes_after) == ("drop_the_one", 1, 7, 6)
    assert record.skipped == ("%gelu at test.gelu (test.py:1): it is no product",)
    assert record.seconds > 0
    assert record.online_bytes_before - record.online_bytes_after == 8 * 6
    assert record.rounds_before - record.rounds_after == 1
    assert NOTE not in result.notes


def test_passes_run_in_order_on_top_of_each_other():
    result = run_passes(chain(), [drop_the_one, drop_the_one])
    assert [record.changes for record in result.history] == [1, 0]


def test_a_pass_without_a_log_is_counted_by_its_text():
    def silent(program):
        result = drop_the_one(program)
        return result.with_changes(notes={})

    (record,) = run_passes(chain(), [silent]).history
    assert record.changes > 0


def test_a_pass_that_changes_the_answer_is_named_with_the_place():
    with pytest.raises(PassFailed, match="lose_the_bias changed the output 0") as caught:
        run_passes(chain(), [drop_the_one, lose_the_bias])
    assert caught.value.where == "test.linear (test.py:1)"
    assert "%linear" in caught.value.hint


def test_the_check_can_be_left_out():
    assert len(run_passes(chain(), [lose_the_bias], check=False).history) == 1


def test_a_pass_that_breaks_the_graph_is_named():
    with pytest.raises(PassFailed, match=r"leave_out_the_value broke the graph: Node %gelu has no value"):
        run_passes(chain(), [leave_out_the_value])


@pytest.mark.parametrize(
    ("answer", "reference", "error"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 2.5], [1.0, 2.0], 0.25),
        ([0.0, 0.1], [0.0, 0.0], 0.1),
        ([math.inf, math.nan], [math.inf, math.nan], 0.0),
        ([math.nan, 0.0], [0.0, 0.0], math.inf),
        ([math.inf, 0.0], [-math.inf, 0.0], math.inf),
        ([], [], 0.0),
        ([1.0], [1.0, 1.0], math.inf),
    ],
)
def test_errors_are_relative_to_the_largest_entry(answer, reference, error):
    assert relative_error(torch.tensor(answer), torch.tensor(reference)) == pytest.approx(error)
