"""Where a graph weighs values by attention, and where its layers begin and end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import fx

from mpccompile.ir import ops
from mpccompile.ir.program import Program, Secrecy, origin_of
from mpccompile.ir.rewrite import arguments, is_call, value_of

Levels = Mapping[fx.Node, Secrecy]

_VIEWS = (ops.reshape, ops.permute, ops.expand)


@dataclass(frozen=True)
class Attention:
    """A softmax whose probabilities weigh values.

    Attributes:
        path: Module path of the softmax.
        scores: What it is taken of, before any mask, [..., rows, columns].
        mask: What is kept, as a value that broadcasts to the scores; None keeps everything.
    """

    path: str
    scores: fx.Node
    mask: fx.Node | None


def attention_sites(program: Program) -> list[Attention]:
    """Return the attentions of a program, in order: each ``attend``, and each ``softmax`` that ends in a product."""
    sites = []
    for node in program.graph.nodes:
        if is_call(node, ops.attend) or (is_call(node, ops.softmax) and _weighs(node)):
            given = arguments(node)
            scores = given["x"]
            # Lowering writes 0 in place of rows that keep nothing; what replaces a softmax may do without.
            while is_call(scores, ops.where):
                scores = arguments(scores)["y"]
            sites.append(Attention(origin_of(node).module_path, scores, given["mask"]))
    return sites


def _weighs(node: fx.Node) -> bool:
    for user in node.users:
        if is_call(user, ops.matmul) and user.args[0] is node:
            return True
        if is_call(user, *_VIEWS) and _weighs(user):
            return True
    return False


def layer_paths(paths: Sequence[str]) -> list[str]:
    """Return the path of the layer that each attention belongs to; empty where none can be told.

    The layer of ``bert.encoder.layer.3.attention.self`` is ``bert.encoder.layer.3``: the path up to its first number
    that is not the same for all. A path without a number belongs to what holds the attention.
    """
    most = max((sum(part.isdigit() for part in path.split(".")) for path in paths), default=0)
    for count in range(1, most + 1):
        layers = [_up_to_number(path, count) for path in paths]
        if len(set(layers)) > 1:
            return layers
    return [_up_to_number(path, 1) for path in paths]


def _up_to_number(path: str, count: int) -> str:
    parts = path.split(".")
    numbered = [at for at, part in enumerate(parts) if part.isdigit()]
    if not numbered:
        return ".".join(parts[:-1])
    return ".".join(parts[: numbered[min(count, len(numbered)) - 1] + 1])


def stack_of(layer: str) -> str:
    """Return what holds a layer and its neighbours: ``bert.encoder.layer`` for ``bert.encoder.layer.3``."""
    return layer.rpartition(".")[0]


def layer_output(program: Program, levels: Levels, layer: str) -> fx.Node | None:
    """Return the last value of a layer that something outside it reads: its part of the residual stream."""
    last = None
    for node in program.graph.nodes:
        if _computed(node, levels) and _inside(node, layer) and not all(_inside(user, layer) for user in node.users):
            last = node
    return last


def layer_input(program: Program, levels: Levels, layer: str) -> fx.Node | None:
    """Return the first computed value that a layer reads: of a first layer, what the embedding gives."""
    inside = (node for node in program.graph.nodes if _inside(node, layer))
    operands: Iterator[fx.Node] = (operand for node in inside for operand in node.all_input_nodes)
    return next((node for node in operands if _computed(node, levels) and not _inside(node, layer)), None)


def _inside(node: fx.Node, layer: str) -> bool:
    path = origin_of(node).module_path
    return node.op == "call_function" and (path == layer or path.startswith(f"{layer}."))


def _computed(node: fx.Node, levels: Levels) -> bool:
    return (
        node.op == "call_function" and levels[node] is Secrecy.SECRET and bool(value_of(node).dtype.is_floating_point)
    )
