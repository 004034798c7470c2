"""Students to train: the tiny models of the other tests, with cheap functions in place of GELU and softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mpccompile
from mpccompile.ir import ops
from mpccompile.ir.edit import edited
from mpccompile.ir.rewrite import arguments, is_call, shape_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mpccompile.ir.program import Program

EPSILON = 1e-3


def approximated(program: Program, *, gelu: bool = True, softmax: bool = True) -> Program:
    """Replace GELU by Quad and softmax by a normalised ReLU."""
    edit = edited(program)
    for node in edit.nodes:
        if gelu and is_call(node, ops.gelu):
            x = arguments(node)["x"]
            curved = edit.call(node, ops.mul, edit.call(node, ops.square, x), 0.125)
            straight = edit.call(node, ops.add, edit.call(node, ops.mul, x, 0.25), 0.5)
            edit.replace(node, edit.call(node, ops.add, curved, straight))
        elif softmax and is_call(node, ops.softmax):
            given = arguments(node)
            kept = edit.call(node, ops.relu, given["x"])
            if given["mask"] is not None:
                kept = edit.call(node, ops.where, given["mask"], kept, 0.0)
            total = edit.call(node, ops.sum, kept, (len(shape_of(kept)) - 1,), True)
            share = edit.call(node, ops.reciprocal, edit.call(node, ops.add, total, EPSILON))
            edit.replace(node, edit.call(node, ops.mul, kept, share))
    return edit.done()


def student_of(model: nn.Module, inputs: dict[str, Tensor]) -> Program:
    """Return the approximated program of a model."""
    return approximated(mpccompile.program(model, inputs))
