"""One pass's edits of one program: a copy to work on, and a log of what was done and what was left alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from mpccompile.ir import rewrite
from mpccompile.ir.program import Program, Secrecy, origin_of
from mpccompile.ir.secrecy import infer, level_of_call

NOTE = "edit"
"""Key of a program's notes under which its last pass left an :class:`EditLog`."""


REPLACES = "replaces"
"""Key of a node's metadata: the function of the model that it approximates."""


@dataclass(frozen=True)
class EditLog:
    """What a pass did.

    Attributes:
        changes: How many places it changed.
        skipped: Why it left alone what looked like a place to change, one sentence each.
        replaced: Which functions it replaced on purpose, one sentence a site.
        became: Names of values that are gone, each with that of the value read in its place.
        why: Names of values that a rule changed, made or replaced, each with what the rule says of itself.
    """

    changes: int
    skipped: tuple[str, ...]
    replaced: tuple[str, ...] = ()
    became: tuple[tuple[str, str], ...] = ()
    why: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Edit:
    """A program being edited.

    Attributes:
        program: The program as it was.
        module: The copy to edit.
        levels: Who may know each value of the copy; kept up to date by the methods.
        changed: Names of the nodes changed so far.
        skipped: Reasons so far.
        replaced: Sites so far whose function is another on purpose.
        became: Names of the nodes replaced so far, each with that of the node in its place.
        inserted: Names of the calls inserted since the last change, which are part of the next.
        why: What the rules said of their changes so far, by the names of the nodes.
    """

    program: Program
    module: fx.GraphModule
    levels: dict[fx.Node, Secrecy]
    changed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    became: dict[str, str] = field(default_factory=dict)
    inserted: list[str] = field(default_factory=list)
    why: dict[str, str] = field(default_factory=dict)

    @property
    def nodes(self) -> list[fx.Node]:
        """The nodes as they are now, safe to edit while going through them."""
        return list(self.module.graph.nodes)

    def is_secret(self, value: object) -> bool:
        """Say whether ``value`` is a node with a secret value."""
        return isinstance(value, fx.Node) and self.levels[value] is Secrecy.SECRET

    def is_weight(self, value: object) -> bool:
        """Say whether ``value`` is a secret weight as it is stored."""
        return isinstance(value, fx.Node) and value.op == "get_attr" and self.is_secret(value)

    def known(self, value: object) -> torch.Tensor | None:
        """Return a stored weight or constant in float64 (integers and bools as they are), None for anything else."""
        if not isinstance(value, fx.Node) or value.op != "get_attr":
            return None
        data = rewrite.weight_data(self.module, value)
        return data.double() if data.is_floating_point() else data

    def data(self, weight: fx.Node) -> torch.Tensor:
        """Return a stored weight or constant as :meth:`known` does.

        Raises:
            TypeError: If it is not stored.
        """
        data = self.known(weight)
        if data is None:
            raise TypeError(f"%{weight.name} is a {weight.op}, not a stored tensor")
        return data

    def number(self, value: object) -> float | None:
        """Return a number, or a public constant of one element, as a float; None for anything else."""
        if isinstance(value, float | int) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, fx.Node) and value.op == "get_attr" and not self.is_secret(value):
            data = rewrite.weight_data(self.module, value)
            return float(data) if data.numel() == 1 else None
        return None

    def call(self, before: fx.Node, target: rewrite.Target, *args: Any, like: fx.Node | None = None) -> fx.Node:
        """Insert a call before a node."""
        node = rewrite.insert_call(before, target, *args, like=like)
        self.levels[node] = level_of_call(node, self.levels)
        self.inserted.append(node.name)
        return node

    def weight(self, old: fx.Node, before: fx.Node, data: torch.Tensor, *, name: str = "") -> fx.Node:
        """Store ``data`` in the place of ``old``: under its name unless given, with its dtype, level and origin."""
        stored = data.to(rewrite.value_of(old).dtype).contiguous()
        node = rewrite.insert_weight(self.module, before, name or str(old.target), stored, like=old)
        self.levels[node] = self.levels[old]
        return node

    def replace(self, node: fx.Node, new: fx.Node, why: str = "") -> None:
        """Send every use of ``node`` to ``new``, erase it and count a change; ``why`` is a sentence of the rule's."""
        rewrite.replace(node, new)
        self.became[node.name] = new.name
        self.changed.append(new.name)
        self._explain(node, why)

    def change(self, node: fx.Node, why: str = "", /, **arguments: Any) -> None:
        """Change arguments of a call by name and count a change; ``why`` is a sentence of the rule's."""
        rewrite.set_arguments(node, **arguments)
        self.changed.append(node.name)
        self._explain(node, why)

    def _explain(self, node: fx.Node, why: str) -> None:
        if why:
            self.why.update(dict.fromkeys([node.name, *self.inserted], why))
        self.inserted.clear()

    def skip(self, node: fx.Node, why: str) -> None:
        """Note why a place was left alone."""
        self.skipped.append(f"%{node.name} at {origin_of(node)}: {why}")

    def approximate(self, node: fx.Node, new: fx.Node, function: str, name: str) -> None:
        """Replace a call of ``function`` by its approximation ``name``, and remember it on the new node."""
        new.meta[REPLACES] = function
        self.replaced.append(f"%{node.name} at {origin_of(node)}: {function} became {name}")
        self.replace(node, new, f"{function} became {name}, as was asked for.")

    def done(self) -> Program:
        """Return the edited program, or the one it was when nothing changed, with a log among its notes."""
        if self.changed:
            rewrite.tidy(self.module)
        log = EditLog(
            len(self.changed), tuple(self.skipped), tuple(self.replaced), self._places(), tuple(self.why.items())
        )
        notes = {**self.program.notes, NOTE: log}
        if not self.changed:
            return self.program.with_changes(notes=notes)
        weights = [node for node in self.nodes if node.op == "get_attr" and self.is_secret(node)]
        secret = frozenset(str(node.target) for node in weights)
        return self.program.with_changes(module=self.module, secret_attributes=secret, notes=notes)

    def _places(self) -> tuple[tuple[str, str], ...]:
        """Return what is read in the end in the place of each call that is gone."""
        kept = {node.name for node in self.nodes}
        places = []
        for old, new in self.became.items():
            while new not in kept and new in self.became:
                new = self.became[new]  # noqa: PLW2901 - follows the chain
            if new in kept and old not in kept:
                places.append((old, new))
        return tuple(places)


def edited(program: Program) -> Edit:
    """Return a copy of ``program`` to edit; tensors are shared with the original."""
    module = rewrite.copied(program.module)
    return Edit(program, module, infer(program.with_changes(module=module)))
