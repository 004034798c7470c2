"""How much the statements of a program make the dealer and the parties compute, from its plan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mpccompile.runtime.correlations import LOCAL
from mpccompile.runtime.plan import Work

if TYPE_CHECKING:
    from mpccompile.runtime.plan import Step


def work_of(steps: Sequence[Step], lines: Sequence[int]) -> tuple[Work, ...]:
    """Add up what there is to compute for the steps of each statement.

    Args:
        steps: The offline program.
        lines: Line of the statement that each step is for.
    """
    counts: dict[int, list[int]] = {}
    for step, line in zip(steps, lines, strict=True):
        entry = counts.setdefault(line, [0, 0, 0])
        entry[0] += 1
        entry[1] += 0 if step.kind in LOCAL else math.prod(step.shape)
        entry[2] += _products(step, steps)
    return tuple(Work(line, *entry) for line, entry in counts.items())


def _products(step: Step, steps: Sequence[Step]) -> int:
    """Return the products of numbers in a step's matrix product, from the shapes of its operands."""
    if step.kind not in ("matmul", "static") or not step.inputs or "mul" in step.params:
        return 0
    inner = steps[step.inputs[0]].shape[-1]
    return math.prod(step.shape) * inner
