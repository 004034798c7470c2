"""Move multiplications by a number into weights."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx

from mpccompile.ir import ops
from mpccompile.ir.channels import SOURCES, Use, channel_count, is_view, scale_channels, scale_inputs, uses, why_fixed
from mpccompile.ir.edit import Edit, edited
from mpccompile.ir.rewrite import is_call, shape_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mpccompile.ir.program import Program

Edge = tuple[fx.Node, fx.Node]
_UP = "The weights it is computed from have the factor."
_ACROSS = "The weights of what it is multiplied by have the factor."
_DOWN = "The weights that are multiplied by it have the factor."


def fold_scales(program: Program) -> Program:
    """Fold a multiplication by a public number into the weights it comes from, or goes to.

    before: ``%q = linear(%x, %w, %b)``, ``%scaled = mul(permute(%q, ...), 0.125)``, ``matmul(%scaled, %k)``
    after: ``%q = linear(%x, %w * 0.125, %b * 0.125)``, ``matmul(permute(%q, ...), %k)``

    before: ``linear(mul(%x, 0.5), %w, %b)``
    after: ``linear(%x, %w * 0.5, %b)``

    The way between may hold anything that is linear and leads nowhere else: views, sums, rotary embeddings, one side of
    a matmul. Channels that only others read, such as K and V of a joint projection, keep their weights.
    """
    edit = edited(program)
    for node in edit.nodes:
        scale = _scale_of(edit, node)
        if scale is None:
            continue
        reasons: list[str] = []
        if not (_fold_up(edit, scale, reasons) or _fold_across(edit, scale, reasons) or _fold_down(edit, scale)):
            edit.skip(node, f"the factor {scale.factor:.6g} stays: {reasons[0]}")
    return edit.done()


@dataclass(frozen=True)
class _Scale:
    """A call ``mul(x, factor)``."""

    node: fx.Node
    x: fx.Node
    factor: float


@dataclass(frozen=True)
class _Region:
    """A linear computation that starts at sources of weights.

    Attributes:
        edges: The calls inside, each with the operand through which a factor comes.
        sources: The calls whose weights can take the factor.
    """

    edges: frozenset[Edge] = frozenset()
    sources: frozenset[fx.Node] = frozenset()

    def joined(self, *others: _Region) -> _Region:
        """Return the union."""
        return _Region(self.edges.union(*(o.edges for o in others)), self.sources.union(*(o.sources for o in others)))


def _scale_of(edit: Edit, node: fx.Node) -> _Scale | None:
    if not is_call(node, ops.mul) or not node.users:
        return None
    x, factor = node.args[0], edit.number(node.args[1])
    if not isinstance(x, fx.Node) or factor is None or not edit.is_secret(x) or shape_of(x) != shape_of(node):
        return None
    return _Scale(node, x, factor)


def _fold_up(edit: Edit, scale: _Scale, reasons: list[str]) -> bool:
    """Scale the weights that ``x`` is computed from."""
    twins = [_scale_of(edit, user) for user in scale.x.users]
    roots = [twin.node for twin in twins if twin is not None and twin.factor == scale.factor]
    edges = frozenset((root, scale.x) for root in roots)
    if not _scale_region(edit, scale, edges, reasons, start=scale.x):
        return False
    for root in roots:
        edit.replace(root, scale.x, _UP)
    return True


def _fold_across(edit: Edit, scale: _Scale, reasons: list[str]) -> bool:
    """Scale what the scaled value is multiplied by instead: ``(c x) @ y`` is ``x @ (c y)``."""
    readers = list(uses(edit.module, scale.node))
    if len(readers) != 1 or not is_call(readers[0].user, ops.matmul, ops.mul):
        return False
    product_call = readers[0].user
    others = [arg for arg in product_call.args if isinstance(arg, fx.Node) and arg is not readers[0].operand]
    if len(others) != 1:
        return False
    edges = frozenset({(product_call, others[0])})
    if not _scale_region(edit, scale, edges, reasons, start=others[0]):
        return False
    edit.replace(scale.node, scale.x, _ACROSS)
    return True


def _fold_down(edit: Edit, scale: _Scale) -> bool:
    """Scale the weights that the scaled value is multiplied by."""
    readers = [use.user for use in uses(edit.module, scale.node) if _reads_as_input(use)]
    everyone = list(uses(edit.module, scale.node))
    if len(readers) != len(everyone) or any(why_fixed(edit, reader) for reader in readers):
        return False
    for reader in readers:
        scale_inputs(edit, reader, torch.tensor(scale.factor, dtype=torch.float64))
    edit.replace(scale.node, scale.x, _DOWN)
    return True


def _reads_as_input(use: Use) -> bool:
    return is_call(use.user, ops.linear, ops.conv2d) and use.user.args[0] is use.operand


def _scale_region(edit: Edit, scale: _Scale, edges: frozenset[Edge], reasons: list[str], *, start: fx.Node) -> bool:
    """Scale the sources of the first region behind ``start`` that nothing outside of it reads."""
    for found in _regions(edit, start, reasons):
        region = found.joined(_Region(edges))
        roots = frozenset(root for root, _ in edges)
        masks = _scaled_channels(edit, region, roots, reasons)
        if masks is not None:
            for source in sorted(region.sources):
                factors = torch.where(masks[source], scale.factor, torch.ones((), dtype=torch.float64))
                scale_channels(edit, source, factors)
            return True
    return False


def _regions(edit: Edit, node: fx.Node, reasons: list[str]) -> Iterator[_Region]:
    """Find the ways in which a factor of ``node`` can be a factor of weights."""
    if is_call(node, *SOURCES):
        reason = why_fixed(edit, node)
        if reason:
            reasons.append(reason)
        else:
            yield _Region(sources=frozenset({node}))
        return
    choices = _linear_in(edit, node)
    if not choices:
        reasons.append(f"%{node.name} is no linear function of weights")
    for operands in choices:
        for parts in product(*(list(_regions(edit, operand, reasons)) for operand in operands)):
            yield _Region(frozenset((node, operand) for operand in operands)).joined(*parts)


def _linear_in(edit: Edit, node: fx.Node) -> list[tuple[fx.Node, ...]]:
    """Return the sets of operands that scale ``node`` when all of a set are scaled."""
    operands = node.all_input_nodes
    secrets = tuple(operand for operand in operands if edit.is_secret(operand))
    if is_view(node) or is_call(node, ops.neg, ops.mean, ops.sum):
        return [secrets]
    if is_call(node, ops.add, ops.sub):
        numbers = sum(not isinstance(arg, fx.Node) for arg in node.args)
        return [secrets] if secrets == tuple(operands) and not numbers else []
    if is_call(node, ops.concat):
        return [secrets] if secrets == tuple(operands) else []
    if is_call(node, ops.mul, ops.matmul) and node.args[0] is not node.args[1]:
        return [(secret,) for secret in secrets]
    return []


def _scaled_channels(
    edit: Edit, region: _Region, roots: frozenset[fx.Node], reasons: list[str]
) -> dict[fx.Node, Tensor] | None:
    """Return which channels of each source enter the region; None when a value inside is read outside too."""
    inside = {node for node, _ in region.edges if not is_view(node)} - roots
    for node in sorted(inside):
        for use in uses(edit.module, node):
            if (use.user, use.operand) not in region.edges:
                reasons.append(f"%{use.user.name} reads %{node.name} unscaled")
                return None
    masks: dict[fx.Node, Tensor] = {}
    for source in sorted(region.sources):
        mask = torch.zeros(channel_count(source), dtype=torch.bool)
        everyone = list(uses(edit.module, source))
        outside = [use for use in everyone if (use.user, use.operand) not in region.edges]
        for use in everyone:
            if use not in outside:
                mask[use.channels.flatten()] = True
        for use in outside:
            if bool(mask[use.channels.flatten()].any()):
                reasons.append(f"%{use.user.name} reads %{source.name} unscaled")
                return None
        masks[source] = mask
    return masks
