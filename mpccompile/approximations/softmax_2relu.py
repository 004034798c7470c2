"""2ReLU: normalised positive scores for softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpccompile.approximations.approximation import Approximation
from mpccompile.approximations.errors import worst_of_rows
from mpccompile.ir import ops
from mpccompile.ir.rewrite import arguments

if TYPE_CHECKING:
    from torch import fx

    from mpccompile.ir.edit import Edit

FORM = "2relu"


def _rewrite(edit: Edit, node: fx.Node) -> fx.Node:
    given = arguments(node)
    return edit.call(node, ops.softmax, given["x"], given["mask"], FORM, like=node)


def _worst_error(low: float, high: float) -> float:
    return worst_of_rows(ops.softmax, lambda x: ops.softmax(x, None, FORM), low, high)


APPROXIMATION = Approximation(
    name=FORM,
    replaces="softmax",
    formula="m max(s, 0) / max(sum m max(s, 0), 2^-6), m the mask",
    domain="rows with a positive score; one without gives zeros",
    typical=(-3.0, 3.0),
    source='Li et al., "MPCFormer" (ICLR 2023), whose 1e-12 under the fraction is 2^-6 here',
    accuracy="distilled BERT-base keeps 94.0 of 94.1 on IMDb and 81.1 of 82.8 on GLUE (Quad + 2ReLU)",
    cost="a comparison a score, which costs more than softmax does here: for models that were trained with it",
    rewrite=_rewrite,
    worst_error=_worst_error,
)
