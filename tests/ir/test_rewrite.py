"""An edit keeps values and origins; a copy leaves the original alone."""

from __future__ import annotations

import torch
from torch.nn import functional

from mpccompile.ir import ops
from mpccompile.ir.program import origin_of
from mpccompile.ir.rewrite import copied, insert_call, insert_weight, is_call, replace, shape_of, tidy, weight_data
from tests.lowering.programs import lowered, seeded


def program():
    return lowered(lambda x, w: torch.relu(functional.linear(x, w)), seeded(2, 3), w=seeded(4, 3))


def relu_of(module):
    return next(node for node in module.graph.nodes if is_call(node, ops.relu))


def test_a_copy_shares_tensors_and_nothing_else():
    before = program()
    module = copied(before.module)
    node = relu_of(module)
    replace(node, insert_call(node, ops.gelu, node.args[0], "none"))
    assert is_call(relu_of(before.module), ops.relu)
    assert module.w is before.module.w


def test_a_new_call_knows_its_value_and_where_it_came_from():
    module = copied(program().module)
    node = relu_of(module)
    new = insert_call(node, ops.take, node.args[0], 1, 0, 2)
    assert shape_of(new) == (2, 2)
    assert origin_of(new) == origin_of(node)


def test_a_new_weight_gets_a_name_of_its_own_and_a_dead_one_goes():
    module = copied(program().module)
    node = relu_of(module)
    first, second = (insert_weight(module, node, "table", torch.ones(4) * count, like=node) for count in (1, 2))
    assert [str(first.target), str(second.target)] == ["table", "table_1"]
    replace(node, insert_call(node, ops.add, node.args[0], second))
    tidy(module)
    assert torch.equal(weight_data(module, second), torch.full((4,), 2.0))
    assert not hasattr(module, "table")
