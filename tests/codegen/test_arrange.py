"""Who runs side by side: what needs nothing of each other, where that saves a round and costs no byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import networkx as nx
import pytest

from mpccompile.codegen.arrange import Sent, in_steps, one_by_one, side_by_side
from mpccompile.ir import ops
from mpccompile.passes.schedule_rounds import dependencies, rounds_of, schedule_rounds
from tests.passes.build import Builder, family, values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import fx

    from mpccompile.codegen.arrange import Costs, Item
    from mpccompile.ir.program import Program


ROUNDS = {"linear": 2, "square": 2, "gelu": 1, "relu": 9, "mul": 2}


def branches() -> Program:
    """A short branch and a long one, with local calls in both."""
    b = Builder()
    x = b.input("x", values(2, 4))
    left = b.call(ops.neg, b.call(ops.linear, x, b.weight("w1", 4, 4)))
    right = b.call(ops.relu, b.call(ops.reshape, b.call(ops.square, x), (2, 4)))
    return schedule_rounds(b.program(b.call(ops.mul, b.call(ops.gelu, left), right)))


def names(items: Sequence[Item]) -> list[str]:
    return ["+".join(node.name for node in item) for item in items]


def estimated(program: Program) -> dict[str, int]:
    return {node.name: count for node, count in rounds_of(program).items() if count}


def sent(rounds: Mapping[str, int], **bytes_sent: int) -> Costs:
    return {name: Sent(bytes_sent.get(name, 10), count) for name, count in rounds.items()}


def shared(items: Sequence[Item], rounds: Mapping[str, int]) -> dict[str, int]:
    """Return rounds as they are booked when every group shares all of them."""
    booked = dict.fromkeys(rounds, 0)
    for item in items:
        if item[0].name in rounds:
            booked[item[0].name] = max(rounds[node.name] for node in item)
    return booked


def test_what_is_ready_at_the_same_time_is_one_step():
    program = branches()
    items = in_steps(program.graph, ROUNDS, hold=False)
    assert names(items) == ["x", "w1", "linear+square", "neg", "reshape", "relu+gelu", "mul", "output"]


def test_a_long_call_is_held_back_for_another_long_one():
    b = Builder()
    x = b.input("x", values(2, 4))
    late = b.call(ops.relu, b.call(ops.gelu, b.call(ops.tanh, x)))
    early = b.call(ops.relu, x)
    program = b.program(b.call(ops.square, late), early)
    rounds = {"tanh": 1, "gelu": 1, "relu": 9, "relu_1": 9, "square": 1}
    at_once = in_steps(program.graph, rounds, hold=False)
    held = in_steps(program.graph, rounds, hold=True)
    assert names(at_once) == ["x", "tanh+relu_1", "gelu", "relu", "square", "output"]
    assert names(held) == ["x", "tanh", "gelu", "relu+relu_1", "square", "output"]
    assert side_by_side(program.graph, lambda items: sent(shared(items, rounds)), sent(rounds)) == held


@pytest.mark.parametrize("name", ["t5", "bert", "llama", "vit", "cnn"])
@pytest.mark.parametrize("hold", [False, True])
def test_nothing_in_a_group_depends_on_another_and_all_stand_behind_their_operands(name, hold):
    program = schedule_rounds(family(name))
    items = in_steps(program.graph, estimated(program), hold=hold)
    paths = nx.transitive_closure_dag(dependencies(program))
    done: set[fx.Node] = set()
    for item in items:
        assert not any(paths.has_edge(one.name, other.name) for one in item for other in item)
        assert all(done.issuperset(node.all_input_nodes) for node in item)
        done.update(item)
    assert sorted(node.name for item in items for node in item) == sorted(node.name for node in program.graph.nodes)
    assert names(items) == names(in_steps(program.graph, estimated(program), hold=hold))


def test_t5_has_groups_of_its_encoder_and_decoder():
    program = schedule_rounds(family("t5"))
    groups = [item for item in in_steps(program.graph, estimated(program), hold=False) if len(item) > 1]
    paths = [{str(node.meta["origin"].module_path).partition(".")[0] for node in group} for group in groups]
    assert {"encoder", "decoder"} in paths


def test_a_chain_stays_as_it_is():
    b = Builder()
    x = b.input("x", values(2, 4))
    program = b.program(b.call(ops.gelu, b.call(ops.linear, x, b.weight("w", 4, 4))))

    def never(_items: Sequence[Item]) -> Costs:
        raise AssertionError("there is nothing to try")

    assert side_by_side(program.graph, never, sent(estimated(program))) == one_by_one(program.graph)


def test_a_group_that_saves_no_round_is_dissolved():
    program = branches()

    def dry_run(items: Sequence[Item]) -> Costs:
        booked = shared(items, ROUNDS)
        if "relu+gelu" in names(items):
            booked |= {"gelu": ROUNDS["gelu"], "relu": ROUNDS["relu"]}
        return sent(booked)

    items = side_by_side(program.graph, dry_run, sent(ROUNDS))
    assert "linear+square" in names(items)
    assert {"gelu", "relu"} < set(names(items))


def test_who_sends_more_in_a_group_leaves_it():
    b = Builder()
    x = b.input("x", values(2, 4))
    program = b.program(*(b.call(op, x) for op in (ops.square, ops.relu, ops.gelu)))
    rounds = {"square": 2, "relu": 9, "gelu": 1}

    def dry_run(items: Sequence[Item]) -> Costs:
        relu = 10 if ("relu",) in [tuple(node.name for node in item) for item in items] else 11
        return sent(shared(items, rounds), relu=relu)

    items = side_by_side(program.graph, dry_run, sent(rounds))
    assert "square+gelu" in names(items)
    assert "relu" in names(items)


def test_a_group_after_which_more_is_sent_is_dissolved():
    program = branches()

    def dry_run(items: Sequence[Item]) -> Costs:
        return sent(shared(items, ROUNDS), mul=11 if "relu+gelu" in names(items) else 10)

    items = side_by_side(program.graph, dry_run, sent(ROUNDS))
    assert "linear+square" in names(items)
    assert {"gelu", "relu"} < set(names(items))


def test_bytes_that_move_to_another_statement_are_no_more():
    program = branches()
    items = side_by_side(program.graph, lambda items: sent(shared(items, ROUNDS), linear=5, square=15), sent(ROUNDS))
    assert "linear+square" in names(items)
    assert "relu+gelu" in names(items)
