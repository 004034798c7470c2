"""A value is public when all it is made of is public."""

from __future__ import annotations

import torch

from mpccompile.ir.program import Secrecy
from mpccompile.ir.secrecy import infer
from tests.lowering.programs import captured, name_of, seeded


def levels(program):
    return {name_of(node): level for node, level in infer(program).items() if node.op == "call_function"}


def test_secrecy_spreads_from_inputs_and_weights():
    program = captured(
        lambda x, y, w: torch.exp(y) + torch.relu(x) * torch.neg(w), *[seeded(3)] * 2, public="y", w=seeded(3)
    )
    found = levels(program)
    assert found["aten.exp.default"] is Secrecy.PUBLIC
    assert found["aten.relu.default"] is Secrecy.SECRET
    assert found["aten.neg.default"] is Secrecy.SECRET
    assert found["aten.add.Tensor"] is Secrecy.SECRET


def test_a_shape_is_no_secret():
    found = levels(captured(lambda x: x + torch.zeros_like(x).cos(), seeded(3)))
    assert found["aten.zeros_like.default"] is Secrecy.PUBLIC
    assert found["aten.cos.default"] is Secrecy.PUBLIC


def test_a_filled_tensor_is_as_secret_as_its_value():
    program = captured(lambda x, w: torch.full_like(x, 2.0) + w, seeded(3), w=seeded(3))
    assert levels(program)["aten.full_like.default"] is Secrecy.PUBLIC
    (node,) = [node for node in program.graph.nodes if name_of(node) == "aten.full_like.default"]
    (weight,) = [node for node in program.graph.nodes if node.op == "get_attr"]
    node.args = (node.args[0], weight)
    assert infer(program)[node] is Secrecy.SECRET
