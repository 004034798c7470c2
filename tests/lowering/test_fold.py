"""What no input changes is computed once, at compile time."""

from __future__ import annotations

import torch

from mpccompile.ir.verify import max_error
from mpccompile.lowering.fold import fold_public_constants
from tests.lowering.programs import calls, captured, run, seeded


def test_a_mask_made_from_shapes_becomes_one_constant():
    def function(x):
        at = torch.arange(x.shape[0])
        return torch.where(at.unsqueeze(0) <= at.unsqueeze(1), x, 0.0)

    program = fold_public_constants(captured(function, seeded(3, 3)))
    assert calls(program) == {"aten.where.ScalarOther": 1}
    assert max_error(program) == 0
    constants = [node.target for node in program.graph.nodes if node.op == "get_attr"]
    assert len(constants) == 1
    assert constants[0] not in program.secret_attributes


def test_what_depends_on_an_input_or_a_weight_is_kept():
    program = captured(lambda x, y, w: x * (y + 1) * (w + 1), seeded(3), seeded(3), public="y", w=seeded(3))
    assert calls(fold_public_constants(program)) == calls(program)


def test_a_tensor_like_a_secret_one_is_a_constant():
    program = fold_public_constants(captured(lambda x: x + torch.ones_like(x).cumsum(0), seeded(3)))
    assert calls(program) == {"aten.add.Tensor": 1}
    assert torch.equal(run(program, x=torch.zeros(3))[0], torch.tensor([1.0, 2.0, 3.0]))
