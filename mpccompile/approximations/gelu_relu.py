"""ReLU for GELU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpccompile.approximations.approximation import Approximation
from mpccompile.approximations.errors import worst_on_grid
from mpccompile.ir import ops
from mpccompile.ir.rewrite import arguments

if TYPE_CHECKING:
    from torch import fx

    from mpccompile.ir.edit import Edit


def _rewrite(edit: Edit, node: fx.Node) -> fx.Node:
    return edit.call(node, ops.relu, arguments(node)["x"], like=node)


def _worst_error(low: float, high: float) -> float:
    return worst_on_grid(ops.gelu, ops.relu, low, high)


APPROXIMATION = Approximation(
    name="relu",
    replaces="gelu",
    formula="max(x, 0)",
    domain="everywhere; the difference goes to 0 at both ends",
    typical=(-3.0, 3.0),
    source='Chen et al., "THE-X" (Findings of ACL 2022)',
    accuracy="no figure for it alone is published; the model has to be trained with it",
    cost="a comparison an element, which costs more than GELU does here: for models that were trained with it",
    rewrite=_rewrite,
    worst_error=_worst_error,
)
