"""A pass edits a copy, keeps what is known of each node, and says what it did."""

from __future__ import annotations

import pytest
import torch

from mpccompile.ir import ops
from mpccompile.ir.edit import NOTE, EditLog, edited
from mpccompile.ir.program import Secrecy, origin_of
from mpccompile.ir.text import to_text
from mpccompile.ir.verify import verify
from tests.passes.build import Builder, values


@pytest.fixture
def program():
    b = Builder()
    x = b.input("x", values(2, 4))
    scaled = b.call(ops.mul, b.call(ops.linear, x, b.weight("w", 3, 4)), b.constant("factor", torch.tensor([0.5])))
    return b.program(scaled)


def named(edit, name):
    (node,) = [node for node in edit.nodes if node.name == name]
    return node


def test_the_original_stays_as_it_was(program):
    text = to_text(program)
    edit = edited(program)
    edit.replace(named(edit, "mul"), named(edit, "linear"))
    result = edit.done()
    assert to_text(program) == text
    assert "mul" not in to_text(result)
    assert result.notes[NOTE] == EditLog(1, (), became=(("mul", "linear"),))


def test_a_replacement_that_is_replaced_leads_to_what_stays(program):
    edit = edited(program)
    mul = named(edit, "mul")
    neg = edit.call(mul, ops.neg, named(edit, "linear"))
    edit.replace(mul, neg)
    edit.replace(neg, named(edit, "linear"))
    assert dict(edit.done().notes[NOTE].became) == {"mul": "linear", "neg": "linear"}


def test_a_rule_says_why_of_all_it_touched(program):
    edit = edited(program)
    mul = named(edit, "mul")
    first = edit.call(mul, ops.neg, named(edit, "linear"))
    edit.replace(mul, edit.call(mul, ops.neg, first), "It is negated twice.")
    edit.change(named(edit, "linear"), "It has no bias.", bias=None)
    edit.change(named(edit, "linear"), bias=None)
    assert dict(edit.done().notes[NOTE].why) == {
        "mul": "It is negated twice.",
        "neg": "It is negated twice.",
        "neg_1": "It is negated twice.",
        "linear": "It has no bias.",
    }


def test_nothing_changed_gives_the_same_module(program):
    edit = edited(program)
    edit.skip(named(edit, "mul"), "it is needed")
    result = edit.done()
    assert result.module is program.module
    assert result.notes[NOTE] == EditLog(0, ("%mul at test.mul (test.py:1): it is needed",))


def test_a_new_weight_has_the_level_dtype_and_origin_of_the_old(program):
    edit = edited(program)
    old, linear = named(edit, "w"), named(edit, "linear")
    new = edit.weight(old, linear, edit.data(old) * 2)
    edit.change(linear, weight=new)
    result = edit.done()
    verify(result)
    assert result.secret_attributes == {str(new.target)}
    assert origin_of(new) == origin_of(old)
    assert dict(result.module.named_buffers())[str(new.target)].dtype == torch.float32


def test_new_calls_know_their_level(program):
    edit = edited(program)
    mul = named(edit, "mul")
    secret = edit.call(mul, ops.neg, named(edit, "x"))
    public = edit.call(mul, torch.ops.aten.neg.default, named(edit, "factor"))
    assert (edit.levels[secret], edit.levels[public]) == (Secrecy.SECRET, Secrecy.PUBLIC)
    assert origin_of(secret) == origin_of(mul)


def test_what_is_stored_is_known_in_float64(program):
    edit = edited(program)
    assert edit.known(named(edit, "w")).dtype == torch.float64
    assert edit.known(named(edit, "x")) is None
    assert edit.is_weight(named(edit, "w"))
    assert not edit.is_weight(named(edit, "factor"))
    with pytest.raises(TypeError, match="%x is a placeholder"):
        edit.data(named(edit, "x"))


def test_numbers_are_numbers_or_public_constants_of_one_element(program):
    edit = edited(program)
    found = [
        edit.number(value) for value in (2, 0.5, named(edit, "factor"), named(edit, "w"), named(edit, "x"), True, None)
    ]
    assert found == [2.0, 0.5, 0.5, None, None, None, None]
