"""The driver of lowering: constants first, then one rule per call on a secret value."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import replace as replace_site

import torch
from torch import fx

from mpccompile.errors import PassFailed, UnsupportedOp
from mpccompile.ir.program import Program, Secrecy, origin_of
from mpccompile.ir.rewrite import copied, replace, shape_of, target_of, tidy, weight_data
from mpccompile.ir.secrecy import infer
from mpccompile.ir.verify import OPS
from mpccompile.lowering import (
    activation,
    attention,
    boolean,
    conv,
    elementwise,
    embedding,
    index,
    linear,
    norm,
    pooling,
    reduce,
    shape,
)
from mpccompile.lowering.fold import fold_public_constants
from mpccompile.lowering.inline import NO_RULE, inlined
from mpccompile.lowering.registry import RULES, Lowered, Refused, Rule, Site
from mpccompile.passes.recognise_gelu import recognise_gelu

# Importing a family registers its rules.
FAMILIES = (
    activation,
    attention,
    boolean,
    conv,
    elementwise,
    embedding,
    index,
    linear,
    norm,
    pooling,
    reduce,
    shape,
)
# Above this a fixed-point value in a 64-bit ring has no room left for a product.
_LARGEST = 1e9
_REFUSED = "refused"


def lower(program: Program) -> Program:
    """Rewrite every call on a secret value as calls of ``ir.ops``.

    before: ``aten.scaled_dot_product_attention(%q, %k, %v, %mask)``, ``aten.view(%x, [1, 6, -1])``
    after: ``matmul(mul(%q, 0.35), permute(%k, ...))``, ``softmax(%scores, %mask)``, ``matmul(%p, %v)``,
    ``reshape(%x, [1, 6, 16])``

    Public values that no input changes become constants; calls on other public values stay ATen calls, which every
    party computes in plaintext. Additive masks in front of a softmax become its bool mask.

    Args:
        program: A captured program.

    Returns:
        A program that ``ir.verify.verify`` accepts and that computes the same in plaintext.

    Raises:
        UnsupportedOp: Listing every call that has no private implementation.
    """
    folded = fold_public_constants(program)
    module = copied(folded.module)
    first = Site(module.graph.output_node(), module, infer(folded.with_changes(module=module)))
    for node in list(module.graph.nodes):
        _visit(replace_site(first, node=node))
    tidy(module)
    secret = {node.target for node in module.graph.nodes if node.op == "get_attr" and first.is_secret(node)}
    lowered = folded.with_changes(module=module, secret_attributes=frozenset(str(name) for name in secret))
    # The error function exists inside a GELU only, and is known as one only once its surroundings are lowered.
    lowered = fold_public_constants(recognise_gelu(lowered))
    _check_lowered(lowered)
    return lowered


def _needs_rule(node: fx.Node, site: Site) -> bool:
    if node.op != "call_function" or node.target in OPS or not site.is_secret(node):
        return False
    return node.target is not operator.getitem


def _visit(site: Site) -> None:
    """Lower one call, or note on it why that is not possible."""
    if not _needs_rule(site.node, site):
        return
    try:
        rule = RULES.get(target_of(site.node))
        if rule is None:
            for part in inlined(site):
                _visit(replace_site(site, node=part))
        else:
            _lower_node(site, rule)
    except Refused as reason:
        site.node.meta[_REFUSED] = str(reason)


def _lower_node(site: Site, rule: Rule) -> None:
    node = site.node
    try:
        lowered = rule(site, *node.args, **node.kwargs)
    except TypeError as error:
        raise Refused(f"its rule does not take these arguments ({error})") from error
    if isinstance(lowered, fx.Node):
        _check_shape(node, lowered)
        if site.is_secret(lowered) and node.meta["val"].dtype == torch.bool:
            site.booleans.add(lowered)
        # Attention counts as random, so that nothing but this would remove it.
        replace(node, lowered)
    else:
        _replace_parts(node, lowered)


def _replace_parts(node: fx.Node, parts: Lowered) -> None:
    if not isinstance(parts, Sequence):
        raise PassFailed(f"A rule answered for {node.target} with a {type(parts).__name__}", where=str(origin_of(node)))
    for user in list(node.users):
        index = user.args[1]
        if user.target is not operator.getitem or not isinstance(index, int) or not -len(parts) <= index < len(parts):
            raise Refused("not all of its results have a private form")
        _check_shape(user, parts[index])
        replace(user, parts[index])
    node.graph.erase_node(node)


def _check_shape(node: fx.Node, lowered: fx.Node) -> None:
    if shape_of(node) != shape_of(lowered):
        raise PassFailed(
            f"{node.target} has shape {shape_of(node)}, its lowered form {shape_of(lowered)}",
            where=str(origin_of(node)),
        )


def _check_lowered(program: Program) -> None:
    levels = infer(program)
    problems = []
    for node in program.graph.nodes:
        if node.op != "call_function" or levels[node] is not Secrecy.SECRET or node.target is operator.getitem:
            continue
        reason = _too_large(program, node) if node.target in OPS else node.meta.get(_REFUSED, NO_RULE)
        if reason:
            name = getattr(node.target, "__name__", str(node.target)) if node.target in OPS else str(node.target)
            problems.append(f"{name} at {origin_of(node)}: {reason}")
    if problems:
        count = f"{len(problems)} operations" if len(problems) > 1 else "One operation"
        raise UnsupportedOp(
            f"{count} on secret values cannot be made private:\n  " + "\n  ".join(problems),
            hint="Add a rule in mpccompile/lowering/<family>.py, see CONTRIBUTING, or write the model without them.",
        )


def _too_large(program: Program, node: fx.Node) -> str:
    """Say which constant operand has no fixed-point form, if one has none."""
    for arg in node.args:
        if isinstance(arg, float | int) and not isinstance(arg, bool) and not abs(arg) <= _LARGEST:
            return f"the constant {arg} has no fixed-point form; a mask may only lead to a softmax"
        if isinstance(arg, fx.Node) and arg.op == "get_attr" and str(arg.target) not in program.secret_attributes:
            data = weight_data(program.module, arg)
            largest = float(data.abs().max()) if data.is_floating_point() and data.numel() else 0.0
            if math.isnan(largest) or largest > _LARGEST:
                return f"the constant {arg.target} holds {largest}, which has no fixed-point form"
    return ""
