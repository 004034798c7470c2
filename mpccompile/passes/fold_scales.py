"""Move multiplications by a number into weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import torch
from torch import fx

from mpccompile.ir import ops
from mpccompile.ir.channels import SOURCES, Use, is_view, scale_channels, uses, why_fixed
from mpccompile.ir.edit import Edit, edited
from mpccompile.ir.program import Program
from mpccompile.ir.rewrite import arguments, is_call, shape_of

Edge = tuple[fx.Node, fx.Node]


def fold_scales(program: Program) -> Program:
    """Fold a multiplication by a public number into the weights it comes from, or goes to.

    before: ``%q = linear(%x, %w, %b)``, ``%scaled = mul(permute(reshape(%q, ...), ...), 0.125)``, ``matmul(%scaled, %k)``
    after: ``%q = linear(%x, %w_scaled, %b_scaled)``, ``matmul(permute(reshape(%q, ...), ...), %k)``

    before: ``linear(mul(%x, 0.5), %w, %b)``
    after: ``linear(%x, %w_scaled, %b)``

    The way between may hold anything that is linear and leads nowhere else: views, sums, rotary embeddings, a matmul's
    left or right side. Channels that only others read, such as K and V of a joint projection, keep their weights.
    """
    edit = edited(program)
    for node in edit.nodes:
        factor = _factor(edit, node)
        if factor is None:
            continue
        reason = _fold_up(edit, node, factor)
        if reason and not _fold_across(edit, node, factor) and not _fold_down(edit, node, factor):
            edit.skip(node, f"the factor {factor:.6g} stays: {reason}")
    return edit.done()


@dataclass(frozen=True)
class _Region:
    """The linear computation between sources of weights and the places where a factor applies.

    Attributes:
        edges: The calls inside, each with the operand through which the factor comes.
        sources: The calls whose weights take the factor.
    """

    edges: frozenset[Edge] = frozenset()
    sources: frozenset[fx.Node] = frozenset()

    def __or__(self, other: _Region) -> _Region:
        return _Region(self.edges | other.edges, self.sources | other.sources)


def _factor(edit: Edit, node: fx.Node) -> float | None:
    """Return the number that ``node`` multiplies its secret first argument by."""
    if not is_call(node, ops.mul) or not node.users or not edit.is_secret(node.args[0]):
        return None
    x = node.args[0]
    same_shape = isinstance(x, fx.Node) and shape_of(x) == shape_of(node)
    return edit.number(node.args[1]) if same_shape else None


def _fold_up(edit: Edit, root: fx.Node, factor: float) -> str:
    """Scale the weights ``root`` is computed from; return why not, or nothing when it was done."""
    x = root.args[0]
    assert_node = x if isinstance(x, fx.Node) else root
    roots = {root}
    while True:
        region = _reach(edit, assert_node)
        if isinstance(region, str):
            return region
        region |= _Region(frozenset((each, each.args[0]) for each in roots if isinstance(each.args[0], fx.Node)))
        outside = _leaks(edit, region)
        twins = {use.user for use in outside if _factor(edit, use.user) == factor and use.user.args[0] is use.operand}
        if not outside:
            break
        if len(twins) < len(outside) or twins <= roots:
            return f"%{outside[0].user.name} reads the value unscaled"
        roots |= twins
    _scale(edit, region, factor)
    for each in sorted(roots):
        edit.replace(each, each.args[0])  # type: ignore[arg-type] - a root's first argument is a node
    return ""
