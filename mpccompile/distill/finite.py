"""Where a number stopped being one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, fx, nn

from mpccompile.ir.program import Program, Secrecy, origin_of
from mpccompile.ir.secrecy import infer


def first_not_finite(program: Program, module: fx.GraphModule, inputs: Mapping[str, Tensor]) -> str:
    """Run a graph of the program and name the first weight or value that holds NaN or infinity; empty if none does.

    Masks are public values and may hold infinities: they are left out.
    """
    levels = infer(program)
    secret = {node.name for node in program.graph.nodes if levels[node] is Secrecy.SECRET}
    found: list[str] = []

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            result = super().run_node(n)
            if not found and n.name in secret and isinstance(result, Tensor) and not bool(torch.isfinite(result).all()):
                kind = f"weight {n.target}" if n.op == "get_attr" else f"%{n.name}, {_name(n)}, at {origin_of(n)}"
                found.append(kind)
            return result

    with torch.no_grad():
        Recorder(module).run(*inputs.values())
    return found[0] if found else ""


def first_gradient_not_finite(module: nn.Module) -> str:
    """Name the first weight whose gradient holds NaN or infinity; empty if none does."""
    for name, weight in module.named_parameters():
        if weight.grad is not None and not bool(torch.isfinite(weight.grad).all()):
            return name
    return ""


def _name(node: fx.Node) -> str:
    return str(getattr(node.target, "__name__", node.target))
