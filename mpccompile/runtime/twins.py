"""Weights that several programs have in common: masked and opened with the first, and used by all.

A model is one program for each shape of its inputs, and two for a text. Most of their weights are the same numbers, and
need not be sent, nor kept, once for each. Only who has the weights file can tell which; that two programs share one is
all that the others learn, and a mask still masks one value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open

from mpccompile.runtime.plan import Plan, Step
from mpccompile.runtime.program import ProgramDescription, WeightDescription

if TYPE_CHECKING:
    from torch import Tensor


def read_plan(folder: Path) -> Plan:
    """Read the offline program of a package."""
    rows = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    return Plan(tuple(Step.from_json(row) for row in rows["steps"]), (), rows["offline_bytes"])


def static_shapes(plan: Plan, description: ProgramDescription) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight that the plan multiplies."""
    used = {step.weight for step in plan.steps if step.weight}
    return {weight.name: weight.shape for weight in description.weights if weight.name in used}


def static_uses(plan: Plan, name: str) -> set[tuple[str, int]]:
    """Return how the plan multiplies a weight: kinds of product, and their ring's width."""
    return {(step.params[0], step.params[1]) for step in plan.steps if step.weight == name}


@dataclass(frozen=True)
class Masked:
    """A weight that a program multiplies, and how."""

    weight: WeightDescription
    uses: frozenset[tuple[str, int]]


class Twins:
    """Finds the weights that a program has in common with those that were loaded before it."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Path, dict[str, Masked]]] = {}

    def add(self, program: str, folder: Path) -> dict[str, str]:
        """Remember a program, and return for each weight that an earlier one has as well which program that is.

        A weight is shared by name, numbers, precision and use: what is prepared for one product serves no other kind.
        """
        mine, shared = _masked(folder), {}
        for other, (place, theirs) in self._known.items():
            names = [name for name, masked in mine.items() if name not in shared and _serves(theirs.get(name), masked)]
            shared.update(dict.fromkeys(_equal(folder, place, names), other))
        self._known[program] = folder, mine
        return shared


def _masked(folder: Path) -> dict[str, Masked]:
    manifest: Mapping[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    description, plan = ProgramDescription.from_json(manifest["program"]), read_plan(folder)
    used = static_shapes(plan, description)
    return {
        weight.name: Masked(weight, frozenset(static_uses(plan, weight.name)))
        for weight in description.weights
        if weight.name in used
    }


def _serves(theirs: Masked | None, mine: Masked) -> bool:
    return theirs is not None and theirs.weight == mine.weight and theirs.uses >= mine.uses


def _equal(one: Path, other: Path, names: list[str]) -> list[str]:
    """Return the names under which two packages have the same numbers; none where a weights file is not there."""
    files = [folder / "weights.safetensors" for folder in (one, other)]
    if not names or not all(file.exists() for file in files):
        return []
    with safe_open(files[0], "pt") as left, safe_open(files[1], "pt") as right:

        def same(name: str) -> bool:
            tensors: tuple[Tensor, Tensor] = left.get_tensor(name), right.get_tensor(name)
            return torch.equal(*tensors)

        return [name for name in names if same(name)]
