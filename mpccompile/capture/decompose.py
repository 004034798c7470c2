"""Calls that are made of simpler calls."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from mpccompile.ir.rewrite import shape_of, target_of, value_of

if TYPE_CHECKING:
    from mpccompile.ir.rewrite import Target


class _Once(nn.Module):
    """One call, its nodes to be replaced by tensors."""

    def __init__(self, target: Target, arguments: tuple[Any, ...], nodes: list[fx.Node]) -> None:
        super().__init__()
        self.target, self.arguments, self.nodes = target, arguments, nodes

    def forward(self, *tensors: torch.Tensor) -> object:
        """Return the call's value."""
        held = dict(zip(self.nodes, tensors, strict=True))
        args, kwargs = fx.map_arg(self.arguments, held.__getitem__)
        return self.target(*args, **kwargs)


def decomposed(node: fx.Node) -> fx.GraphModule | None:
    """Write a call as the simpler ATen calls it is made of.

    before: ``aten.glu(%x, 1)``
    after: ``aten.mul(aten.slice(%x, 1, 0, 2), aten.sigmoid(aten.slice(%x, 1, 2, 4)))``

    Returns:
        A module whose placeholders stand for ``node.all_input_nodes``; None where torch knows of no simpler calls.
    """
    target = target_of(node)
    table = torch.export.default_decompositions()
    rules = {target: table[target]} if target in table else {}
    module = _Once(target, (node.args, node.kwargs), node.all_input_nodes)
    inputs = tuple(torch.zeros(shape_of(operand), dtype=value_of(operand).dtype) for operand in node.all_input_nodes)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(module, inputs, strict=False).run_decompositions(rules)
        plain: fx.GraphModule = exported.module(check_guards=False)
    calls = [part.target for part in plain.graph.nodes if part.op == "call_function"]
    return None if target in calls else plain
