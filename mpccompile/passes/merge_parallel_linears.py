"""Make one linear of those that read the same value."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from torch import fx

from mpccompile.ir import ops
from mpccompile.ir.channels import bias_name, why_fixed
from mpccompile.ir.edit import Edit, edited
from mpccompile.ir.rewrite import arguments, is_call, shape_of, weight_data

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpccompile.ir.program import Program

_LONGEST_NAME = 3
_MERGED = "Linears of one input became one; each is a part of its result."


def merge_parallel_linears(program: Program) -> Program:
    """Merge linears of one input into one linear, whose result is taken apart again.

    before: ``%q = linear(%x, %wq, %bq)``, ``%k = linear(%x, %wk, %bk)``
    after: ``%qk = linear(%x, %wqk, %bqk)``, ``%q = take(%qk, 2, 0, 16)``, ``%k = take(%qk, 2, 16, 32)``

    The bytes stay the same; one round of truncation takes the place of one for each.
    """
    edit = edited(program)
    for node in edit.nodes:
        if not edit.is_secret(node) or node.op == "get_attr":
            continue
        readers = sorted(user for user in node.users if is_call(user, ops.linear) and user.args[0] is node)
        together = []
        for reader in readers if len(readers) > 1 else []:
            reason = why_fixed(edit, reader)
            if reason:
                edit.skip(reader, f"it stays apart from {len(readers) - 1} linears of the same input: {reason}")
            else:
                together.append(reader)
        if len(together) > 1:
            _merge(edit, node, together)
    return edit.done()


def _merge(edit: Edit, x: fx.Node, linears: Sequence[fx.Node]) -> None:
    first = linears[0]
    parts = [arguments(linear) for linear in linears]
    weights = [part["weight"] for part in parts]
    sizes = [shape_of(weight)[0] for weight in weights]
    name = joined_name([str(weight.target) for weight in weights])
    joined = torch.cat([weight_data(edit.module, each) for each in weights])
    weight = edit.weight(weights[0], first, joined, name=name)
    bias = None
    if any(part["bias"] is not None for part in parts):
        vectors = [
            torch.zeros(size, dtype=torch.float64) if part["bias"] is None else edit.data(part["bias"])
            for part, size in zip(parts, sizes, strict=True)
        ]
        bias = edit.weight(weights[0], first, torch.cat(vectors), name=bias_name(weight))
    whole = edit.call(first, ops.linear, x, weight, bias, like=first)
    last = len(shape_of(whole)) - 1
    ends = list(accumulate(sizes))
    slices = [
        edit.call(first, ops.take, whole, last, end - size, end, like=linear)
        for linear, size, end in zip(linears, sizes, ends, strict=True)
    ]
    for linear, piece in zip(linears, slices, strict=True):
        edit.replace(linear, piece, _MERGED)


def joined_name(names: Sequence[str]) -> str:
    """Name a weight made of several: what differs between their names, joined.

    ``layer.0.query.weight`` and ``layer.0.key.weight`` give ``layer_0_query_key_weight``.
    """
    split = [name.replace(".", "_").split("_") for name in names]
    if len(names) > _LONGEST_NAME or len({len(parts) for parts in split}) > 1:
        return f"{names[0]}_and_{len(names) - 1}_more"
    columns = zip(*split, strict=True)
    return "_".join("_".join(dict.fromkeys(column)) for column in columns)
