"""Evaluate at compile time what depends on no input and no secret weight."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from mpccompile.ir.program import Program, Secrecy
from mpccompile.ir.rewrite import copied, insert_weight, target_of, tidy, weight_data
from mpccompile.ir.secrecy import infer, reads_shape_only


def fold_public_constants(program: Program) -> Program:
    """Freeze every public value that no input changes, such as causal masks and rotary tables.

    before: ``ge(unsqueeze(arange(6), 1), unsqueeze(arange(6), 0))``
    after: one public buffer
    """
    module = copied(program.module)
    levels = infer(program.with_changes(module=module))
    known: dict[fx.Node, Any] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr" and levels[node] is Secrecy.PUBLIC:
            known[node] = weight_data(module, node)
        elif node.op == "call_function" and _is_foldable(node, known):
            args, kwargs = fx.map_arg((node.args, node.kwargs), lambda arg: known.get(arg, _blank(arg)))
            with torch.no_grad():
                known[node] = target_of(node)(*args, **kwargs)
    for node, value in known.items():
        is_last = any(user not in known for user in node.users)
        if node.op == "call_function" and isinstance(value, torch.Tensor) and is_last:
            constant = insert_weight(module, node, f"constant_{node.name}", value.clone(), like=node)
            node.replace_all_uses_with(constant, propagate_meta=False)
    tidy(module)
    return program.with_changes(module=module)


def _blank(node: fx.Node) -> torch.Tensor | None:
    """Return a stand-in for an operand whose shape alone is read."""
    value = node.meta.get("val")
    return torch.zeros(value.shape, dtype=value.dtype) if isinstance(value, torch.Tensor) else None


def _is_foldable(node: fx.Node, known: dict[fx.Node, Any]) -> bool:
    tags = getattr(node.target, "tags", ())
    random = torch.Tag.nondeterministic_seeded in tags
    return not random and (reads_shape_only(node) or all(operand in known for operand in node.all_input_nodes))
