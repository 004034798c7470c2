"""The few values an element of a mask can take, whatever the input."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import torch
from torch import fx

from mpccompile.ir import ops
from mpccompile.ir.rewrite import target_of, value_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mpccompile.lowering.registry import Site

aten = torch.ops.aten
# transformers documents these inputs as holding 0 and 1 only.
_TRUTH_INPUTS = frozenset({"attention_mask", "decoder_attention_mask"})
_MOST_VALUES = 4
_MOST_CASES = 64
_MOVES = frozenset(
    {
        aten.view.default,
        aten._unsafe_view.default,  # noqa: SLF001 - its ATen name
        aten.reshape.default,
        aten.unsqueeze.default,
        aten.squeeze.dim,
        aten.expand.default,
        aten.permute.default,
        aten.transpose.int,
        aten.slice.Tensor,
        aten.select.int,
        aten.index.Tensor,
        aten.index_select.default,
        aten.clone.default,
        aten.alias.default,
        ops.reshape,
        ops.expand,
        ops.permute,
        ops.take,
        ops.gather_rows,
    }
)
_ELEMENTWISE = frozenset(
    {
        aten.add.Tensor,
        aten.sub.Tensor,
        aten.rsub.Scalar,
        aten.mul.Tensor,
        aten.where.self,
        aten.where.ScalarOther,
        aten.where.ScalarSelf,
        aten.where.Scalar,
        aten.masked_fill.Scalar,
        aten._to_copy.default,  # noqa: SLF001 - its ATen name
    }
)
_LOGIC = frozenset(
    {
        aten.logical_and.default,
        aten.logical_or.default,
        aten.logical_not.default,
        aten.__and__.Tensor,
        aten.__or__.Tensor,
        aten.bitwise_and.Tensor,
        aten.bitwise_not.default,
        aten.gt.Scalar,
    }
)
_MATRIX = 2


def possible(site: Site, node: fx.Node) -> frozenset[float] | None:
    """Return every value an element of ``node`` can have, or None where they are many or unknown."""
    dtype = value_of(node).dtype
    data = site.known(node)
    if data is not None:
        found = torch.unique(data.double())
        return frozenset(found.tolist()) if found.numel() <= _MOST_VALUES else None
    is_mask = node.op == "placeholder" and node.target in _TRUTH_INPUTS and not dtype.is_floating_point
    if dtype == torch.bool or is_mask:
        return frozenset({0.0, 1.0})
    if node.op == "call_function" and node.target in _MOVES:
        return possible(site, node.all_input_nodes[0])
    if node.op == "call_function" and node.target in _ELEMENTWISE:
        return _combined(site, node)
    return None


def is_truth(site: Site, node: fx.Node) -> bool:
    """Say whether every element of ``node`` is 0 or 1."""
    values = possible(site, node)
    return values is not None and values <= {0.0, 1.0}


def all_in(values: Iterable[float] | None, *, below: float) -> bool:
    """Say whether every value is 0 or at most ``below``."""
    return values is not None and all(value == 0 or value <= below for value in values)


def varies_by_row(site: Site, mask: fx.Node) -> bool:
    """Say whether the last dim of a mask may differ along the last but one: by query, in a mask of scores."""
    shape = site.shape(mask)
    if len(shape) < _MATRIX or shape[-2] == 1:
        return False
    data = site.known(mask)
    if data is not None:
        return not bool((data == data[..., :1, :]).all())
    source = mask.all_input_nodes
    kept_whole = mask.target in _MOVES and site.shape(source[0])[-2:] == shape[-2:]
    if mask.target in _ELEMENTWISE | _LOGIC or mask.target == aten.expand.default or kept_whole:
        return any(varies_by_row(site, operand) for operand in source)
    return True


def _combined(site: Site, node: fx.Node) -> frozenset[float] | None:
    """Run an elementwise call on every combination of its operands' values."""
    operands = node.all_input_nodes
    choices = [possible(site, operand) for operand in operands]
    if any(choice is None for choice in choices):
        return None
    known = [sorted(choice) for choice in choices if choice is not None]
    if math.prod(len(choice) for choice in known) > _MOST_CASES:
        return None
    answers = set()
    for case in itertools.product(*known):
        tensors = {
            operand: torch.tensor(value).to(value_of(operand).dtype)
            for operand, value in zip(operands, case, strict=True)
        }
        args, kwargs = fx.map_arg((node.args, node.kwargs), tensors.__getitem__)
        answers.add(float(target_of(node)(*args, **kwargs)))
    return frozenset(answers)
