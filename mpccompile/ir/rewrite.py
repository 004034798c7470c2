"""Edits of a graph that never lose what is known of a node: its fake value and its origin.

torch's own subgraph rewriter leaves new nodes without either, so every edit in this package goes through here.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx
from torch._subclasses import FakeTensor, FakeTensorMode  # noqa: PLC2701 - an exported graph's mode has no public name

Target = Callable[..., Any]
MADE_OF = "made_of"
"""In the meta of a get_attr whose tensor was made of stored weights: their names."""


def fake_mode_of(graph: fx.Graph) -> FakeTensorMode:
    """Return the fake mode of the graph's values, or a new one when it has none."""
    for node in graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, FakeTensor):
            return value.fake_mode
    return FakeTensorMode(allow_non_fake_inputs=True)


def value_of(node: fx.Node) -> torch.Tensor:
    """Return the fake tensor of ``node``: its shape and dtype without its data.

    Raises:
        KeyError: If the node carries none, which is a defect of whatever made it.
    """
    value = node.meta["val"]
    if not isinstance(value, torch.Tensor):
        raise KeyError(f"node {node.name} holds {type(value).__name__}, not one tensor")
    return value


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """Return the shape of the node's value as plain ints."""
    return tuple(int(size) for size in value_of(node).shape)


def insert_call(before: fx.Node, target: Target, *args: Any, like: fx.Node | None = None, **kwargs: Any) -> fx.Node:
    """Insert ``target(*args, **kwargs)`` before a node.

    Args:
        before: The node the call goes in front of.
        target: An op of ``ir.ops``, or an ATen overload on public values.
        args: Positional arguments; nodes may be nested in tuples and lists.
        like: The node whose origin and stack trace the new one inherits; ``before`` when not given.
        kwargs: Keyword arguments.

    Returns:
        The new node, its fake value computed by running the target on fake tensors.
    """
    graph = before.graph
    with graph.inserting_before(before):
        node = graph.call_function(target, args, kwargs)
    inherit(node, like or before)
    refresh_value(node)
    return node


def inherit(node: fx.Node, source: fx.Node) -> None:
    """Copy where ``source`` came from to ``node``."""
    for key in ("origin", "stack_trace", "nn_module_stack"):
        if key in source.meta:
            node.meta[key] = source.meta[key]


def refresh_value(node: fx.Node) -> None:
    """Recompute the fake value of a call from those of its arguments."""
    mode = fake_mode_of(node.graph)
    args, kwargs = fx.map_arg((node.args, node.kwargs), lambda arg: arg.meta["val"])
    with mode:
        node.meta["val"] = node.target(*args, **kwargs)  # type: ignore[operator]


def insert_weight(module: fx.GraphModule, before: fx.Node, name: str, data: torch.Tensor, *, like: fx.Node) -> fx.Node:
    """Store ``data`` as the buffer ``name`` (made unique) and insert the get_attr that reads it.

    It is stored as it is, without a copy: a caller who was given it, or goes on to change it, gives a clone.
    """
    name = name.replace(".", "_")
    unique, count = name, 0
    while hasattr(module, unique):
        count += 1
        unique = f"{name}_{count}"
    module.register_buffer(unique, data.detach())
    with module.graph.inserting_before(before):
        node = module.graph.get_attr(unique)
    inherit(node, like)
    node.meta["val"] = fake_mode_of(module.graph).from_tensor(data, static_shapes=True)
    return node


def weight_data(module: fx.GraphModule, node: fx.Node) -> torch.Tensor:
    """Return the tensor a get_attr node reads."""
    value: Any = module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"attribute {node.target} is not a tensor")
    return value.detach()


def replace(node: fx.Node, new: fx.Node) -> None:
    """Send every use of ``node`` to ``new`` and erase it."""
    node.replace_all_uses_with(new, propagate_meta=False)
    node.graph.erase_node(node)


def arguments(node: fx.Node) -> dict[str, Any]:
    """Return the arguments of a call of ``ir.ops`` by name, defaults filled in."""
    bound = inspect.signature(node.target).bind(*node.args, **node.kwargs)  # type: ignore[arg-type]
    bound.apply_defaults()
    return dict(bound.arguments)


def set_arguments(node: fx.Node, **changes: Any) -> None:
    """Change some arguments of a call of ``ir.ops`` by name, and recompute its fake value."""
    node.args = tuple((arguments(node) | changes).values())
    node.kwargs = {}
    refresh_value(node)


def reorder(graph: fx.Graph, nodes: Sequence[fx.Node]) -> None:
    """Put the nodes of a graph, the output left out, in this order."""
    output = graph.output_node()
    for node in nodes:
        output.prepend(node)
    graph.lint()


def is_call(node: object, *targets: Target) -> bool:
    """Say whether ``node`` is a call of one of ``targets``."""
    return isinstance(node, fx.Node) and node.op == "call_function" and node.target in targets


def target_of(node: fx.Node) -> Target:
    """Return the function a call_function node calls.

    Raises:
        TypeError: If the node is no such call.
    """
    if node.op != "call_function" or isinstance(node.target, str):
        raise TypeError(f"node {node.name} is a {node.op}, not a call of a function")
    return node.target


def tidy(module: fx.GraphModule) -> None:
    """Drop dead nodes and attributes nobody reads, check the graph and regenerate its code."""
    module.graph.eliminate_dead_code()
    used = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    for name in [name for name, _ in module.named_buffers()] + [name for name, _ in module.named_parameters()]:
        if name not in used:
            owner = module.get_submodule(name.rpartition(".")[0])
            delattr(owner, name.rpartition(".")[2])
    module.graph.lint()
    module.recompile()


def copied(module: fx.GraphModule) -> fx.GraphModule:
    """Return a copy whose graph may be edited; tensors are shared, so copying a large model costs nothing."""
    return fx.GraphModule(module, copy.deepcopy(module.graph), type(module).__name__)


def with_values(module: fx.GraphModule, names: Sequence[str]) -> fx.GraphModule:
    """Return a copy that also returns the values of the named nodes: ``(outputs, values)``; tensors are shared.

    Raises:
        KeyError: If there is no node of one of the names.
    """
    copy = copied(module)
    nodes = {node.name: node for node in copy.graph.nodes}
    output = copy.graph.output_node()
    output.args = ((output.args[0], tuple(nodes[name] for name in names)),)
    copy.graph.lint()
    copy.recompile()
    return copy
