"""2Quad: normalised squares for softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpccompile.approximations.approximation import Approximation
from mpccompile.approximations.errors import worst_of_rows
from mpccompile.ir import ops
from mpccompile.ir.rewrite import arguments

if TYPE_CHECKING:
    from torch import fx

    from mpccompile.ir.edit import Edit

FORM = "2quad"


def _rewrite(edit: Edit, node: fx.Node) -> fx.Node:
    given = arguments(node)
    return edit.call(node, ops.softmax, given["x"], given["mask"], FORM, like=node)


def _worst_error(low: float, high: float) -> float:
    return worst_of_rows(ops.softmax, lambda x: ops.softmax(x, None, FORM), low, high)


APPROXIMATION = Approximation(
    name=FORM,
    replaces="softmax",
    formula="m (s + 5)^2 / sum m (s + 5)^2, m the mask",
    domain="scores above -5, of which larger ones weigh more; below, they weigh more again",
    typical=(-3.0, 3.0),
    source='Li et al., "MPCFormer" (ICLR 2023)',
    accuracy="distilled BERT-base keeps 93.9 of 94.1 on IMDb and 80.3 of 82.8 on GLUE (Quad + 2Quad); exchanged and"
    " fine-tuned without distillation, 60.9 on GLUE",
    cost="no series: two thirds of softmax's time online for the same bytes, as BERT-base ran it",
    rewrite=_rewrite,
    worst_error=_worst_error,
)
