"""What an approximation says of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import fx

    from mpccompile.ir.edit import Edit


@dataclass(frozen=True)
class Approximation:
    """A function that takes the place of one of the model's, and changes its answers.

    Attributes:
        name: What users ask for.
        replaces: The option it is a value of, which is the name of the function in ``ir.ops``.
        formula: What it computes.
        domain: Where it is close to the function, and what it does beyond.
        typical: The range (low, high) of arguments that models have, over which its error is told.
        source: Where it comes from.
        accuracy: How well models keep their accuracy with it.
        cost: What it saves, or that it saves nothing.
        rewrite: Insert the calls that compute it before a call of the function, and return the last.
        worst_error: The largest absolute difference from the function for arguments in [low, high].
    """

    name: str
    replaces: str
    formula: str
    domain: str
    typical: tuple[float, float]
    source: str
    accuracy: str
    cost: str
    rewrite: Callable[[Edit, fx.Node], fx.Node]
    worst_error: Callable[[float, float], float]

    @property
    def typical_error(self) -> float:
        """The worst error over the typical range."""
        return self.worst_error(*self.typical)
