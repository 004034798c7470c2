"""Small programs made from functions, and what tests ask of a program."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx, nn

from mpccompile.capture.from_torch import capture
from mpccompile.ir.verify import max_error, verify
from mpccompile.lowering.lower import lower
from mpccompile.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpccompile.ir.program import Program

EXACT = 1e-5
ATEN = type(torch.ops.aten.add.Tensor)


class Function(nn.Module):
    """A module around a function of one to three tensors, named x, y and z."""

    def __init__(self, function: Callable[..., Tensor], **weights: Tensor) -> None:
        super().__init__()
        self.function = function
        for name, weight in weights.items():
            self.register_parameter(name, nn.Parameter(weight))

    def forward(self, x: Tensor, y: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        """Return the function's value; it gets the weights by name."""
        given = [tensor for tensor in (x, y, z) if tensor is not None]
        return self.function(*given, **dict(self.named_parameters()))


def captured(function: Callable[..., Tensor], *inputs: Tensor, public: str = "", **weights: Tensor) -> Program:
    """Capture a function of tensors x, y and z; the letters in ``public`` are public, the others secret."""
    names = "xyz"[: len(inputs)]
    secret = tuple(name for name in names if name not in public)
    given = dict(zip(names, inputs, strict=True))
    return capture(Function(function, **weights), given, Options(secret=secret, public=tuple(public)))


def lowered(function: Callable[..., Tensor], *inputs: Tensor, public: str = "", **weights: Tensor) -> Program:
    """Capture and lower a function, check that it still computes the same, and return the program."""
    program = lower(captured(function, *inputs, public=public, **weights))
    verify(program)
    assert max_error(program) < EXACT
    return program


def calls(program: Program) -> dict[str, int]:
    """Count the calls of a program by name: ``linear`` of ir.ops, ``aten.add.Tensor`` of ATen."""
    return dict(Counter(name_of(node) for node in program.graph.nodes if node.op == "call_function"))


def name_of(node: fx.Node) -> str:
    """Return the name of what a call calls."""
    return str(node.target) if isinstance(node.target, ATEN) else str(getattr(node.target, "__name__", ""))


def seeded(*shape: int, seed: int = 0) -> Tensor:
    """Return normal values that are the same on each run."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def run(program: Program, **inputs: Tensor) -> tuple[Tensor, ...]:
    """Run a program in plaintext on inputs given by name."""
    with torch.no_grad():
        answer: tuple[Tensor, ...] = program.module(*(inputs[spec.name] for spec in program.inputs))
    return answer
