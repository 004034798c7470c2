"""The program a compilation passes from stage to stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

if TYPE_CHECKING:
    from mpccompile.ir.snapshot import Snapshot


class Secrecy(Enum):
    """Who may know a value."""

    PUBLIC = "public"
    SECRET = "secret"


@dataclass(frozen=True)
class InputSpec:
    """One tensor input of the program; ``name`` is the placeholder's target and the user's keyword.

    ``limit`` is what a secret float input's values may not exceed: proofs of what fits the ring start from it.
    ``resident`` says that the parties hold the input as shares, from what earlier calls left with them.
    ``table_rows`` is how many rows the table has that the input's ids index; None where it holds no ids.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    secrecy: Secrecy
    limit: float | None = None
    resident: bool = False
    table_rows: int | None = None


@dataclass(frozen=True)
class OutputSpec:
    """How flat output tensors become the model's own output type.

    Attributes:
        kind: ``"tensor"``, ``"tuple"``, ``"dict"`` or ``"model_output"`` (a transformers ModelOutput).
        keys: Names of the outputs, in order; indices as text for tuples; ``("output",)`` for one tensor.
        class_path: ``module:Class`` of a model_output, else empty.
        resident: Outputs that nobody learns: they stay with the parties as shares. Each with what the absolute values
            of it, and of an input of its name, may not exceed.
    """

    kind: str
    keys: tuple[str, ...]
    class_path: str = ""
    resident: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Origin:
    """Where a node came from in the user's model.

    Attributes:
        module_path: Dotted path, such as ``bert.encoder.layer.0.output``; empty at top level.
        source: ``file.py:line`` of the call, file name only; empty when unknown.
    """

    module_path: str = ""
    source: str = ""

    def __str__(self) -> str:
        if self.source:
            return f"{self.module_path or '<model>'} ({self.source})"
        return self.module_path or "<model>"


@dataclass(frozen=True)
class PassRecord:
    """What one pass did, and why, in a line.

    ``before`` and ``after`` are the graphs it found and left; ``became`` are names of values that are gone, each with
    that of the value read in its place; ``why`` are names of values with what the rule says that changed them.
    """

    name: str
    seconds: float
    changes: int
    nodes_before: int
    nodes_after: int
    skipped: tuple[str, ...] = ()
    online_bytes_before: int | None = None
    online_bytes_after: int | None = None
    rounds_before: int | None = None
    rounds_after: int | None = None
    replaced: tuple[str, ...] = ()
    reason: str = ""
    before: Snapshot = field(default=(), repr=False, compare=False)
    after: Snapshot = field(default=(), repr=False, compare=False)
    became: tuple[tuple[str, str], ...] = field(default=(), repr=False, compare=False)
    why: tuple[tuple[str, str], ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True)
class Program:
    """A captured model at one stage of its compilation; every stage runs in plaintext.

    Attributes:
        module: The graph. Only placeholder, get_attr, call_function and output nodes; each with
            ``meta["val"]`` (a fake tensor) and ``meta["origin"]`` (an :class:`Origin`).
        inputs: Placeholders in order.
        output: How the flat outputs become the model's output.
        example_inputs: One tensor per input.
        reference: The captured model's outputs on ``example_inputs``, flat.
        secret_attributes: Names (get_attr targets) of weights that are secret; every other attribute is public.
        history: One record per pass applied.
    """

    module: fx.GraphModule
    inputs: tuple[InputSpec, ...]
    output: OutputSpec
    example_inputs: tuple[torch.Tensor, ...]
    reference: tuple[torch.Tensor, ...]
    secret_attributes: frozenset[str]
    name: str = "Model"
    history: tuple[PassRecord, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def graph(self) -> fx.Graph:
        """The fx graph of ``module``."""
        return self.module.graph

    def with_changes(self, **changes: Any) -> Program:
        """Return a copy with the named fields replaced."""
        return replace(self, **changes)


def origin_of(node: fx.Node) -> Origin:
    """Return where ``node`` came from."""
    origin = node.meta.get("origin")
    return origin if isinstance(origin, Origin) else Origin()
