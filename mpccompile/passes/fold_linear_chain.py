"""Make one linear of two with nothing between."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import fx

from mpccompile.ir import ops
from mpccompile.ir.channels import bias_name, why_fixed
from mpccompile.ir.edit import Edit, edited
from mpccompile.ir.rewrite import arguments, is_call, shape_of, weight_data
from mpccompile.ir.wide import product

if TYPE_CHECKING:
    from mpccompile.ir.program import Program

_MOST_GROWTH = 2.0
"""The product of a narrow bottleneck's weights is larger than both; more than twice as large, it costs more to compute
and to keep than it saves in messages."""

_CHAIN = "Its weight is the product of two: the linear before it is gone."


def fold_linear_chain(program: Program) -> Program:
    """Multiply the weights of a linear that feeds only another linear.

    before: ``linear(linear(%x, %w1, %b1), %w2, %b2)``
    after: ``linear(%x, %w2 @ %w1, %w2 @ %b1 + %b2)``
    """
    edit = edited(program)
    for node in edit.nodes:
        if is_call(node, ops.linear) and is_call(node.args[0], ops.linear):
            inner = node.args[0]
            if isinstance(inner, fx.Node):
                reason = _why_not(edit, inner, node)
                if reason:
                    edit.skip(node, reason)
                else:
                    _fold(edit, inner, node)
    return edit.done()


def _why_not(edit: Edit, inner: fx.Node, outer: fx.Node) -> str:
    if len(inner.users) > 1:
        return f"others read %{inner.name} too"
    reason = why_fixed(edit, inner) or why_fixed(edit, outer)
    if reason:
        return reason
    middle, inputs = shape_of(arguments(inner)["weight"])
    outputs = shape_of(arguments(outer)["weight"])[0]
    if inputs * outputs > _MOST_GROWTH * middle * (inputs + outputs):
        return f"a bottleneck of {middle} between {inputs} and {outputs} is cheaper to compute"
    return ""


def _fold(edit: Edit, inner: fx.Node, outer: fx.Node) -> None:
    first, second = arguments(inner), arguments(outer)
    left, right = weight_data(edit.module, second["weight"]), edit.data(first["weight"])
    vectors = []
    if first["bias"] is not None:
        vectors.append(product(left, edit.data(first["bias"])))
    if second["bias"] is not None:
        vectors.append(edit.data(second["bias"]))
    weight = edit.weight(second["weight"], outer, product(left, right, left.dtype))
    bias = None
    if vectors:
        bias = edit.weight(second["weight"], outer, vectors[0] + sum(vectors[1:]), name=bias_name(weight))
    edit.change(outer, _CHAIN, x=first["x"], weight=weight, bias=bias)
