"""What holds between two stages, and how a breach is told."""

from __future__ import annotations

import operator

import pytest
import torch
from torch.nn import functional

from mpccompile.errors import PassFailed
from mpccompile.ir import ops
from mpccompile.ir.rewrite import copied
from mpccompile.ir.verify import OPS, max_error, verify
from tests.lowering.programs import captured, lowered, seeded


@pytest.fixture
def program():
    made = lowered(lambda x, w: torch.relu(functional.linear(x, w)), seeded(2, 3), w=seeded(4, 3))
    return made.with_changes(module=copied(made.module))


def last_call(program):
    return [node for node in program.graph.nodes if node.op == "call_function"][-1]


def test_the_vocabulary_is_the_functions_of_ops():
    assert {ops.linear, ops.softmax, ops.gather_rows} <= OPS
    assert not {torch.relu, operator.getitem} & OPS


def test_a_lowered_program_passes(program):
    verify(program)


def test_a_captured_program_calls_aten_on_secret_values():
    with pytest.raises(PassFailed, match=r"Node %relu calls aten.relu.default on a secret value"):
        verify(captured(torch.relu, seeded(3)))


@pytest.mark.parametrize(("key", "text"), [("val", "has no value"), ("origin", "has no origin")])
def test_a_node_without_its_facts_is_named(program, key, text):
    node = last_call(program)
    del node.meta[key]
    with pytest.raises(PassFailed, match=f"Node %{node.name} {text}"):
        verify(program)


def test_inputs_must_match_the_placeholders(program):
    with pytest.raises(PassFailed, match="are not the inputs"):
        verify(program.with_changes(inputs=()))


def test_the_error_is_the_largest_over_all_outputs(program):
    assert max_error(program) == 0
    moved = tuple(tensor + 0.5 for tensor in program.reference)
    assert max_error(program.with_changes(reference=moved)) == pytest.approx(0.5)


def test_what_is_no_number_is_an_infinite_error(program):
    bad = tuple(torch.full_like(tensor, torch.nan) for tensor in program.reference)
    assert max_error(program.with_changes(reference=bad)) == float("inf")
    assert max_error(program.with_changes(reference=(torch.zeros(1),))) == float("inf")
