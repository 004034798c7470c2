"""Dropout where Transformers are trained with it; a captured graph has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import fx
from torch.nn import functional

from mpccompile.distill.sites import layer_paths
from mpccompile.ir import ops
from mpccompile.ir.program import Program, origin_of
from mpccompile.ir.rewrite import copied, insert_call, is_call, shape_of


@dataclass(frozen=True)
class Place:
    """Where values are weighed by attention.

    Attributes:
        path: Module path.
        shape: Shape of the scores, and so of the probabilities.
    """

    path: str
    shape: tuple[int, ...]


def with_dropout(program: Program, share: float, places: Sequence[Place]) -> Program:
    """Return the program with dropout on probabilities and on what layers add to the residual; weights are shared.

    Probabilities are what weighs values at one of the places: a softmax, or what took its place.

    before: ``matmul(softmax(%s), %v)``, ``add(linear(%x, ...), %h)``
    after: ``matmul(dropout(softmax(%s)), %v)``, ``add(dropout(linear(%x, ...)), %h)``

    Args:
        program: A lowered program.
        share: Of the values that become 0; the others grow, so that the mean stays.
        places: The attentions; the linears of their layers are those that are looked at.
    """
    module = copied(program.module)
    layers = {layer for layer in layer_paths([place.path for place in places]) if layer}
    for node in list(module.graph.nodes):
        if _weighs(node, places) or _is_branch(node, layers):
            dropped = insert_call(node.next, functional.dropout, node, share, True, like=node)
            node.replace_all_uses_with(dropped, lambda user, own=dropped: user is not own, propagate_meta=False)
    module.graph.lint()
    module.recompile()
    return program.with_changes(module=module)


def _weighs(node: fx.Node, places: Sequence[Place]) -> bool:
    return any(
        is_call(user, ops.matmul)
        and user.args[0] is node
        and Place(origin_of(node).module_path, shape_of(node)) in places
        for user in node.users
    )


def _is_branch(node: fx.Node, layers: set[str]) -> bool:
    path = origin_of(node).module_path
    inside = any(path == layer or path.startswith(f"{layer}.") for layer in layers)
    return inside and is_call(node, ops.linear) and _feeds_sum(node)


def _feeds_sum(node: fx.Node) -> bool:
    views = (ops.reshape, ops.permute)
    return any(is_call(user, ops.add) or (is_call(user, *views) and _feeds_sum(user)) for user in node.users)
