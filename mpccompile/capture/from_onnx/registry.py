"""The rules of the importer: what each operator of ONNX is in torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from mpccompile.capture.from_onnx.graph import Node
from mpccompile.capture.from_onnx.tensors import short

Array = NDArray[np.generic]
Answer = Tensor | Sequence[Tensor | None]
Rule = Callable[..., Answer]
Registered = TypeVar("Registered", bound=Rule)


class Refused(Exception):
    """A rule has no answer for this node; the text says why. It reaches users as an UnsupportedOp or CaptureFailed."""


@dataclass(frozen=True)
class Operator:
    """How one operator is read.

    Attributes:
        name: As in :class:`mpccompile.capture.from_onnx.graph.Node`.
        rule: Called with a :class:`Site` and the operands.
        private: Whether it may be computed on secret values; others are computed on public ones, or at import.
        shape_only: Whether it reads no more of its operand than the shape, which is known at import.
        view: Whether it moves elements only, so that nothing is gained by doing it to a weight at import.
        sizes: Positions of the operands that say how large the answer is: both parties have to know them, wherever in
            the file they stand.
    """

    name: str
    rule: Rule
    private: bool
    shape_only: bool = False
    view: bool = False
    sizes: tuple[int, ...] = ()


OPERATORS: dict[str, Operator] = {}

# What a tensor's shape says too, what is for training, what says how precisely or in which order to compute, and the
# additive form of a mask.
_HARMLESS = frozenset(
    {
        "kernel_shape",
        "mask_filter_value",
        "mask_index_type",
        "momentum",
        "qk_matmul_output_mode",
        "ratio",
        "saturate",
        "seed",
        "softmax_precision",
        "sorted",
        "stash_type",
        "storage_order",
    }
)


def imports(
    *names: str, private: bool = True, shape_only: bool = False, view: bool = False, sizes: tuple[int, ...] = ()
) -> Callable[[Registered], Registered]:
    """Register a rule for operators.

    The rule is called with a :class:`Site` and one tensor per input, None for one that is left out, and returns one
    tensor per output. What it needs to know beforehand (a shape, an axis) it asks the site for. It raises
    :class:`Refused` where it has no answer. ``private`` says whether ``lowering`` has a form for secret values of what
    the rule calls; a test holds it to that.
    """

    def register(rule: Registered) -> Registered:
        for name in names:
            OPERATORS[name] = Operator(name, rule, private, shape_only, view, sizes)
        return rule

    return register


@dataclass(frozen=True)
class Site:
    """The node being computed, and what is known of its operands before any input is.

    Attributes:
        node: The node.
        known: Per input, its value where it is public and no input changes it. These are arrays of numpy, as a tensor
            has no values while torch.export looks on.
        stored: Per input, its value where it is a stored tensor of one element, or says how large the answer is; a
            parameter such as a bound or an exponent has to be known to both parties.
        opset: The version of ONNX's operators that the file was written for.
        read: Names of the attributes that the rule has asked for.
    """

    node: Node
    known: tuple[Array | None, ...]
    stored: tuple[Array | None, ...]
    opset: int
    read: set[str] = field(default_factory=set)

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute of the node."""
        self.read.add(name)
        return self.node.attributes.get(name, default)

    def factor(self, name: str, default: float) -> float:
        """Return an attribute that is a number."""
        return float(self.attribute(name, default))

    def check_attributes(self) -> None:
        """Refuse attributes that change the answer and that the rule, which has run, has not asked for."""
        given = [name for name, value in self.node.attributes.items() if not isinstance(value, int | str) or value]
        ignored = sorted(set(given) - self.read - _HARMLESS)
        if ignored:
            raise Refused(f"its attribute {', '.join(ignored)} is not known")

    @property
    def op(self) -> str:
        """The operator without its domain."""
        return self.node.op.rpartition(".")[2]

    def has(self, position: int) -> bool:
        """Say whether an input is given."""
        return position < len(self.node.inputs) and bool(self.node.inputs[position])

    def constant(self, position: int) -> Array | None:
        """Return the value of an input that has to be known; None where it is not given."""
        if not self.has(position):
            return None
        value = self.known[position]
        value = self.stored[position] if value is None else value
        if value is None:
            raise Refused(f"its input {self.node.inputs[position]} depends on what the model is given")
        return value

    def ints(self, position: int) -> list[int] | None:
        """Return an input that has to be known as whole numbers."""
        value = self.constant(position)
        return None if value is None else [int(each) for each in value.reshape(-1).tolist()]

    def number(self, position: int) -> float | None:
        """Return an input that has to be known as one number."""
        value = self.constant(position)
        return None if value is None else short(value.reshape(-1).tolist()[0])

    def axes(self, position: int = 1) -> list[int] | None:
        """Return axes, which are an attribute in older files and an input in newer ones."""
        given = self.attribute("axes")
        return list(given) if given is not None else self.ints(position)

    def scalars(self, *operands: Tensor) -> list[Tensor | float]:
        """Return the operands of an elementwise call, constants of one element as numbers beside a larger tensor."""
        ranks = [operand.dim() for operand, known in zip(operands, self.known, strict=False) if known is None]
        if not ranks:
            return list(operands)
        return [
            operand if known is None or known.size != 1 or known.ndim > max(ranks) else short(known.item())
            for operand, known in zip(operands, self.known, strict=False)
        ]


def at_first(x: Tensor | float, like: Sequence[Tensor | float]) -> Tensor:
    """Return a first operand as a tensor of the others' dtype."""
    if isinstance(x, Tensor):
        return x
    other = next(each for each in like if isinstance(each, Tensor))
    return torch.full((), x, dtype=other.dtype)
