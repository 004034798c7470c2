"""How far an approximation is from its function, found on a grid."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]

POINTS = 4001
COLUMNS = 128
SCORES = 201


def worst_on_grid(function: Function, other: Function, low: float, high: float) -> float:
    """Return the largest difference of two functions of one variable on 4001 points of [low, high]."""
    x = torch.linspace(low, high, POINTS, dtype=torch.float64)
    return float((function(x) - other(x)).abs().max())


def worst_of_rows(function: Function, other: Function, low: float, high: float) -> float:
    """Return the largest difference of a probability, over rows of 128 of which one score differs from the others.

    Both scores run through 201 points of [low, high]; the first column is the one that differs.
    """
    grid = torch.linspace(low, high, SCORES, dtype=torch.float64)
    one, others = torch.cartesian_prod(grid, grid).unbind(-1)
    rows = torch.cat([one[:, None], others[:, None].expand(-1, COLUMNS - 1)], -1)
    return float((function(rows) - other(rows)).abs().max())
