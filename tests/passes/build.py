"""Small lowered programs built call by call, and what tests ask of a pass."""

from __future__ import annotations

import functools
from collections import Counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode

from mpccompile.capture.from_torch import capture
from mpccompile.ir.differences import relative_error
from mpccompile.ir.edit import NOTE, EditLog
from mpccompile.ir.program import InputSpec, Origin, OutputSpec, Program, Secrecy
from mpccompile.ir.text import to_text
from mpccompile.ir.verify import verify
from mpccompile.lowering.lower import lower
from mpccompile.passes.driver import TOLERANCE
from mpccompile.passes.recognise_rms_norm import recognise_rms_norm
from tests.models import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Callable


def values(*shape: int, seed: int = 0) -> Tensor:
    """Return normal values that are the same on each run."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Builder:
    """Makes a program from calls; every node gets a fake value and an origin."""

    def __init__(self) -> None:
        self.root = torch.nn.Module()
        self.graph = fx.Graph()
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        self.inputs: list[InputSpec] = []
        self.examples: list[Tensor] = []
        self.secret: set[str] = set()

    def _known(self, node: fx.Node, value: Tensor) -> fx.Node:
        node.meta["val"] = value
        node.meta["origin"] = Origin(f"test.{node.name}", "test.py:1")
        return node

    def input(self, name: str, data: Tensor, secrecy: Secrecy = Secrecy.SECRET) -> fx.Node:
        """Add an input."""
        self.inputs.append(InputSpec(name, tuple(data.shape), data.dtype, secrecy))
        self.examples.append(data)
        return self._known(self.graph.placeholder(name), self.mode.from_tensor(data))

    def constant(self, name: str, data: Tensor) -> fx.Node:
        """Add a public stored tensor."""
        if not hasattr(self.root, name):
            self.root.register_buffer(name, data)
        return self._known(self.graph.get_attr(name), self.mode.from_tensor(data))

    def weight(self, name: str, *shape: int, data: Tensor | None = None) -> fx.Node:
        """Add a secret stored tensor."""
        self.secret.add(name)
        return self.constant(name, values(*shape, seed=len(self.secret)) if data is None else data)

    def call(self, target: Callable[..., Any], *args: Any) -> fx.Node:
        """Add a call."""
        node = self.graph.call_function(target, args)
        fakes = fx.map_arg(args, lambda arg: arg.meta["val"])
        with self.mode:
            return self._known(node, target(*fakes))

    def program(self, *outputs: fx.Node) -> Program:
        """Finish: the program whose reference is what it computes."""
        self.graph.output(tuple(outputs))
        module = fx.GraphModule(self.root, self.graph)
        keys = tuple(str(index) for index in range(len(outputs)))
        with torch.no_grad():
            reference = module(*self.examples)
        return Program(
            module=module,
            inputs=tuple(self.inputs),
            output=OutputSpec("tuple", keys),
            example_inputs=tuple(self.examples),
            reference=tuple(reference),
            secret_attributes=frozenset(self.secret),
        )


@functools.cache
def family(name: str, attn_implementation: str = "sdpa", padding_mask: bool = False) -> Program:
    """Return a tiny transformers model, lowered."""
    model, inputs = FAMILIES[name](attn_implementation, padding_mask)
    return recognise_rms_norm(lower(capture(model, inputs)))


def calls(program: Program) -> dict[str, int]:
    """Count the calls by name."""
    names = [getattr(node.target, "__name__", str(node.target)) for node in program.graph.nodes]
    kinds = [node.op for node in program.graph.nodes]
    return dict(Counter(name for name, kind in zip(names, kinds, strict=True) if kind == "call_function"))


def log_of(program: Program) -> EditLog:
    """Return what the last pass says it did."""
    log = program.notes[NOTE]
    assert isinstance(log, EditLog)
    return log


def only(program: Program, target: Callable[..., Any]) -> fx.Node:
    """Return the one call of ``target``."""
    (node,) = [node for node in program.graph.nodes if node.op == "call_function" and node.target is target]
    return node


def assert_exact(program: Program) -> None:
    """The program is well formed and computes what it was captured with."""
    verify(program)
    with torch.no_grad():
        answers = program.module(*program.example_inputs)
    for answer, reference in zip(answers, program.reference, strict=True):
        assert relative_error(answer, reference) <= TOLERANCE


def applied(each: Callable[[Program], Program], program: Program) -> Program:
    """Apply a pass and check what holds for all: exact, the original untouched, nothing left to do the second time."""
    text = to_text(program)
    result = each(program)
    assert to_text(program) == text
    assert_exact(result)
    again = each(result)
    assert log_of(again).changes == 0
    assert to_text(again) == to_text(result)
    return result


def unchanged(each: Callable[[Program], Program], program: Program) -> EditLog:
    """Apply a pass that must find nothing to do and return its log."""
    result = each(program)
    assert log_of(result).changes == 0
    assert result.module is program.module
    return log_of(result)
