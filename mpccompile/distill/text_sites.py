"""Where a language model's graph reads tokens and answers, and what training on text does there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, fx
from torch.nn import functional

from mpccompile.data.table import NO_LABEL, Table
from mpccompile.distill.graphs import logits_of
from mpccompile.errors import DistillationError
from mpccompile.ir import ops
from mpccompile.ir.program import Program, Secrecy
from mpccompile.ir.rewrite import arguments, copied, insert_call, is_call
from mpccompile.ir.secrecy import infer

if TYPE_CHECKING:
    from mpccompile.distill.text_config import TextLoss

_VIEWS = (ops.reshape, ops.permute, ops.expand)
_MASK = "attention_mask"
_BY_TOKEN = 3
"""Dims of an answer for each token, [N, T, V]."""


@dataclass(frozen=True)
class TextSites:
    """Where a graph reads tokens and where it answers, by name of the node.

    Attributes:
        embedded: Rows of the table, [N, T, d].
        table: The embedding table [V, d].
        hidden: The last hidden state [N, T, d], which the head is applied to.
        ids: Name of the input of token ids.
    """

    embedded: str
    table: str
    hidden: str
    ids: str


def text_sites(program: Program) -> TextSites:
    """Find where a language model's program embeds its tokens, and what it applies its head to.

    Args:
        program: A program before any pass.

    Raises:
        DistillationError: If it embeds no secret ids, or its answer is no linear of a value for each token.
    """
    secret = infer(program)
    looked_up = [
        node
        for node in program.graph.nodes
        if is_call(node, ops.embedding)
        and secret[arguments(node)["ids"]] is Secrecy.SECRET
        and _unviewed(arguments(node)["ids"]).op == "placeholder"
    ]
    (results,) = program.graph.output_node().args
    head = _unviewed(cast("tuple[fx.Node, ...]", results)[logits_of(program)])
    tokens = len(looked_up) == 1
    answers = is_call(head, ops.linear) and program.reference[logits_of(program)].dim() == _BY_TOKEN
    if not tokens or not answers:
        found = "no answer of a linear for each token" if tokens else f"{len(looked_up)} tables of tokens"
        raise DistillationError(
            f"the student is no language model: it has {found}",
            hint="The stage of text trains models with one table of tokens and a linear head.",
        )
    given = arguments(looked_up[0])
    ids = str(_unviewed(given["ids"]).target)
    return TextSites(looked_up[0].name, given["weight"].name, arguments(head)["x"].name, ids)


def _unviewed(node: fx.Node) -> fx.Node:
    while is_call(node, *_VIEWS):
        node = arguments(node)["x"]
    return node


def with_next_tokens(table: Table, ids: str) -> Table:
    """Return a table whose labels are the tokens that come next; labels that are there stay as they are.

    What comes after the end, and what is padding by ``attention_mask``, has no label.
    """
    if table.labels is not None:
        return table
    tokens = table.inputs[ids]
    labels = torch.full_like(tokens, NO_LABEL)
    labels[:, :-1] = tokens[:, 1:]
    if _MASK in table.inputs:
        labels[:, :-1][table.inputs[_MASK][:, 1:] == 0] = NO_LABEL
    return replace(table, labels=labels)


def shaken(x: Tensor, noise: float, share: float) -> Tensor:
    """Return ``dropout(x + U[-noise, noise])``."""
    return functional.dropout(x + noise * (2 * torch.rand_like(x) - 1), share)


def with_shaken_embeddings(program: Program, embedded: str, loss: TextLoss) -> Program:
    """Return the program with noise and dropout on its embeddings; weights are shared.

    before: ``add(embedding(%ids, %table), %positions)``
    after: ``add(shaken(embedding(%ids, %table), noise, dropout), %positions)``
    """
    module = copied(program.module)
    node = next(node for node in module.graph.nodes if node.name == embedded)
    changed = insert_call(node.next, shaken, node, loss.noise, loss.dropout, like=node)
    node.replace_all_uses_with(changed, lambda user: user is not changed, propagate_meta=False)
    module.graph.lint()
    module.recompile()
    return program.with_changes(module=module)
