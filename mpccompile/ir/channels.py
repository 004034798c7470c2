"""Output channels of calls with weights, followed through rearrangements, and weights changed channel by channel.

A channel is a row of a linear's weight, a filter of a convolution, a column of a table, an entry of a norm's vectors.
Where a channel ends up is found by sending its number through the same views as the value: no algebra of shapes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx

from mpccompile.ir import ops
from mpccompile.ir.rewrite import arguments, is_call, shape_of, target_of, weight_data
from mpccompile.ir.wide import scaled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mpccompile.ir.edit import Edit

VIEWS = (ops.reshape, ops.permute, ops.expand, ops.take, ops.gather_rows)
SOURCES = (ops.linear, ops.conv2d, ops.embedding, ops.layer_norm, ops.rms_norm)
_FILTERS_DIM = 1


_SCALED = "Its weights take a factor up that was applied by itself."
_SHIFTED = "Its bias takes a shift up that was added by itself."


@dataclass(frozen=True, eq=False)
class Use:
    """A call that reads a value, as it is or rearranged.

    Attributes:
        user: The first call on the way that is no view.
        operand: What it reads.
        channels: The channel each element of the operand comes from.
    """

    user: fx.Node
    operand: fx.Node
    channels: Tensor


def is_view(node: object) -> bool:
    """Say whether ``node`` rearranges its first argument in a way known now."""
    if not isinstance(node, fx.Node) or not is_call(node, *VIEWS):
        return False
    return all(operand.op == "get_attr" for operand in node.all_input_nodes if operand is not node.args[0])


def view_of(module: fx.GraphModule, node: fx.Node, data: Tensor) -> Tensor:
    """Rearrange ``data`` as the view ``node`` does its first argument."""
    args = [weight_data(module, arg) if isinstance(arg, fx.Node) else arg for arg in node.args[1:]]
    result: Tensor = target_of(node)(data, *args, **node.kwargs)
    return result


def unviewed(value: object) -> object:
    """Return what ``value`` is a rearrangement of: itself when it is none."""
    while isinstance(value, fx.Node) and is_view(value):
        value = value.args[0]
    return value


def channel_numbers(source: fx.Node) -> Tensor:
    """Return the channel of each element of a value: along dim 1 of a convolution's, along the last of any other."""
    shape = shape_of(source)
    if not shape:
        return torch.tensor(0)
    dim = _FILTERS_DIM if is_call(source, ops.conv2d) else len(shape) - 1
    numbers = torch.arange(shape[dim])
    return numbers.reshape(-1, *(1,) * (len(shape) - dim - 1)).expand(shape)


def channel_count(source: fx.Node) -> int:
    """Return how many output channels a source has."""
    return shape_of(source)[_FILTERS_DIM if is_call(source, ops.conv2d) else -1]


def uses(module: fx.GraphModule, source: fx.Node) -> Iterator[Use]:
    """Find every call that reads ``source``, through any number of views."""
    yield from _uses(module, source, channel_numbers(source))


def _uses(module: fx.GraphModule, node: fx.Node, channels: Tensor) -> Iterator[Use]:
    for user in node.users:
        if is_view(user) and user.args[0] is node:
            yield from _uses(module, user, view_of(module, user, channels))
        else:
            yield Use(user, node, channels)


def along_last(channels: Tensor) -> Tensor | None:
    """Return the channel at each place of the last dim; None where it depends on the other dims."""
    if channels.numel() == 0 or channels.dim() == 0:
        return None
    first = channels.reshape(-1, channels.shape[-1])[0]
    return first if bool((channels == first).all()) else None


def why_fixed(edit: Edit, source: fx.Node) -> str:
    """Say why the weights of a source may not change; empty when they may.

    A weight that others read too (a head tied to the token table) stays as it is: a second copy would double the
    largest weight of the model and its set-up, for the sake of one truncation.
    """
    if not is_call(source, *SOURCES):
        return f"{_name(source)} has no weights"
    given = arguments(source)
    if given["weight"] is None:
        return f"{_name(source)} has no weights"
    for weight in (given["weight"], given.get("bias")):
        if weight is not None and not edit.is_weight(weight):
            return f"the weights of {_name(source)} are not stored secrets"
        if weight is not None and len(weight.users) > 1:
            return f"the weight {weight.target} is used elsewhere too"
    return ""


def scale_channels(edit: Edit, source: fx.Node, factors: Tensor) -> None:
    """Multiply each output channel of ``source`` by its factor, in its weights."""
    given = arguments(source)
    weight, bias = given["weight"], given.get("bias")
    data = weight_data(edit.module, weight)
    by_row = is_call(source, ops.linear, ops.conv2d)
    shaped = factors.reshape(-1, *(1,) * (data.dim() - 1)) if by_row else factors
    changes = {"weight": edit.weight(weight, source, scaled(data, shaped))}
    if bias is not None:
        changes["bias"] = edit.weight(bias, source, edit.data(bias) * factors)
    edit.change(source, _SCALED, **changes)


def scale_inputs(edit: Edit, reader: fx.Node, factors: Tensor) -> None:
    """Multiply what a linear or convolution makes of each input channel by its factor, in its weights."""
    weight = arguments(reader)["weight"]
    data = weight_data(edit.module, weight)
    shaped = factors.reshape(-1, *(1,) * (data.dim() - 2)) if factors.dim() else factors
    edit.change(reader, _SCALED, weight=edit.weight(weight, reader, scaled(data, shaped)))


def shift_channels(edit: Edit, source: fx.Node, shifts: Tensor) -> None:
    """Add to each output channel of a linear, convolution or layer norm its shift, in its bias."""
    given = arguments(source)
    weight, bias = given["weight"], given["bias"]
    if bias is not None:
        edit.change(source, _SHIFTED, bias=edit.weight(bias, source, edit.data(bias) + shifts))
    else:
        edit.change(source, _SHIFTED, bias=edit.weight(weight, source, shifts, name=bias_name(weight)))


def bias_name(weight: fx.Node) -> str:
    """Name a bias that goes with ``weight``."""
    name = str(weight.target)
    return f"{name.removesuffix('weight')}bias" if name.endswith("weight") else f"{name}_bias"


def _name(node: fx.Node) -> str:
    if node.op == "placeholder":
        return f"the input {node.target}"
    return str(getattr(node.target, "__name__", node.target))
