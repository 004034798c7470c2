"""What approximations of softmax share that divide each score's weight by the sum of its row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpccompile.approximations.approximation import Approximation
from mpccompile.approximations.errors import worst_of_rows
from mpccompile.ir import ops
from mpccompile.ir.rewrite import arguments

if TYPE_CHECKING:
    from torch import fx

    from mpccompile.ir.edit import Edit

TYPICAL = (-3.0, 3.0)


def normalised(form: str, *, formula: str, domain: str, source: str, accuracy: str, cost: str) -> Approximation:
    """Return the approximation of softmax that is another ``form`` of ``ir.ops.softmax``, and has its name."""

    def rewrite(edit: Edit, node: fx.Node) -> fx.Node:
        given = arguments(node)
        return edit.call(node, ops.softmax, given["x"], given["mask"], form, like=node)

    def worst_error(low: float, high: float) -> float:
        return worst_of_rows(ops.softmax, lambda x: ops.softmax(x, None, form), low, high)

    told = (formula, domain, TYPICAL, source, accuracy, cost)
    return Approximation(form, "softmax", *told, rewrite, worst_error)
