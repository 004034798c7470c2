"""The rules of lowering, and what a rule may do at the call it rewrites."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, TypeVar

import torch
from torch import fx

from mpccompile.ir.program import Secrecy
from mpccompile.ir.rewrite import MADE_OF, Target, insert_call, insert_weight, shape_of, value_of, weight_data
from mpccompile.ir.secrecy import level_of_call

Lowered = fx.Node | Sequence[fx.Node]
Rule = Callable[..., Lowered]
Registered = TypeVar("Registered", bound=Rule)

RULES: dict[Target, Rule] = {}


class Refused(Exception):
    """A rule cannot lower this call; the text says why. The driver catches it: it never reaches a user."""


def lowers(*targets: Target) -> Callable[[Registered], Registered]:
    """Register a rule for ATen overloads.

    The rule is called with a :class:`Site` and the call's own arguments, under the names of the ATen schema where they
    are keywords, and returns the node that replaces the call (several for a call with several results). It raises
    :class:`Refused` where it has no answer.
    """

    def register(rule: Registered) -> Registered:
        for target in targets:
            RULES[target] = rule
        return rule

    return register


class Empty(IntEnum):
    """What the softmax of a row that keeps nothing is, which depends on how the row was masked.

    Attributes:
        ZERO: 0, after -inf or a bool mask.
        MEAN: The same for all, after a huge number was written over the scores, or swallowed them.
        SCORES: As if all were kept, after a number was added that leaves their differences as they are.
    """

    ZERO = 0
    MEAN = 1
    SCORES = 2


@dataclass(frozen=True)
class Split:
    """A value of masked scores taken apart: ``where(keep, finite, -inf)``.

    Attributes:
        finite: The scores; None where they are all 0.
        keep: A public bool mask, or a secret one of 0 and 1; None where everything is kept.
        empty: What the softmax of a row that keeps nothing is.
    """

    finite: fx.Node | None
    keep: fx.Node | None
    empty: Empty = Empty.ZERO


@dataclass(frozen=True)
class Site:
    """The call being lowered.

    Attributes:
        node: The call; new nodes go in front of it and inherit its origin.
        module: The module that owns the graph.
        levels: Who may know each value; kept up to date by :meth:`call`.
        splits: The masked scores taken apart so far, shared by all sites.
        booleans: Secret values of 0 and 1 that stand for bools, shared by all sites.
        stored: Values made once and used by several sites, by name, shared by all sites.
    """

    node: fx.Node
    module: fx.GraphModule
    levels: dict[fx.Node, Secrecy]
    splits: dict[fx.Node, Split] = field(default_factory=dict)
    booleans: set[fx.Node] = field(default_factory=set)
    stored: dict[str, fx.Node] = field(default_factory=dict)

    def call(self, target: Target, *args: Any, **kwargs: Any) -> fx.Node:
        """Insert a call in front of the site; a call on public constants alone becomes a constant."""
        data = self._evaluated(target, args, kwargs)
        if data is not None:
            return self.constant(str(self.node.name), data)
        node = insert_call(self.node, target, *args, **kwargs)
        self.levels[node] = level_of_call(node, self.levels)
        return node

    def _evaluated(self, target: Target, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor | None:
        known: list[torch.Tensor | None] = []
        fx.map_arg((args, kwargs), lambda node: known.append(self.known(node)))
        if not known or any(data is None for data in known):
            return None
        values, named = fx.map_arg((args, kwargs), self.known)
        with torch.no_grad():
            answer = target(*values, **named)
        return answer if isinstance(answer, torch.Tensor) else None

    def constant(self, name: str, data: torch.Tensor) -> fx.Node:
        """Insert a public constant."""
        node = insert_weight(self.module, self.node, f"constant_{name}", data.clone(), like=self.node)
        self.levels[node] = Secrecy.PUBLIC
        return node

    def weight(self, name: str, make: Callable[[], torch.Tensor], made_of: Sequence[fx.Node]) -> fx.Node:
        """Insert a secret weight made from the stored weights ``made_of``, once per name."""
        if name not in self.stored:
            node = insert_weight(self.module, self.node, name, make(), like=self.node)
            node.meta[MADE_OF] = tuple(str(source.target) for source in made_of)
            self.levels[node] = Secrecy.SECRET
            self.stored[name] = node
        return self.stored[name]

    def is_secret(self, value: object) -> bool:
        """Say whether an argument is a node with a secret value."""
        return isinstance(value, fx.Node) and self.levels[value] is Secrecy.SECRET

    def known(self, value: object) -> torch.Tensor | None:
        """Return the data of a public constant, None for anything else."""
        if isinstance(value, fx.Node) and value.op == "get_attr" and not self.is_secret(value):
            return weight_data(self.module, value)
        return None

    def shape(self, node: fx.Node | None = None) -> tuple[int, ...]:
        """Return the shape of a node: of the site's own where none is given."""
        return shape_of(node or self.node)

    def scalar(self, value: fx.Node | float) -> fx.Node | float:
        """Return a public constant of no dims as a number, anything else as it is."""
        data = self.known(value)
        return data.item() if data is not None and data.dim() == 0 else value

    def dim(self, dim: int, node: fx.Node) -> int:
        """Return ``dim`` counted from the front."""
        return dim % max(value_of(node).dim(), 1)
