"""Replace a call without a rule by the simpler calls it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import fx

from mpccompile.capture.decompose import decomposed
from mpccompile.ir.rewrite import replace, weight_data
from mpccompile.lowering.registry import Refused, Site

NO_RULE = "there is no rule for it"


def inlined(site: Site) -> list[fx.Node]:
    """Put the parts of a call in its place.

    Returns:
        The new calls, in order, none of them lowered yet.

    Raises:
        Refused: If the call is not made of simpler ones.
    """
    node = site.node
    parts = decomposed(node)
    if parts is None:
        raise Refused(NO_RULE)
    held: dict[fx.Node, fx.Node] = {}
    operands = iter(node.all_input_nodes)
    new: list[fx.Node] = []
    for part in parts.graph.nodes:
        if part.op == "placeholder":
            held[part] = next(operands)
        elif part.op == "get_attr":
            held[part] = site.constant(part.name, weight_data(parts, part))
        elif part.op == "call_function" and "assert" not in str(part.target):
            args, kwargs = fx.map_arg((part.args, part.kwargs), held.__getitem__)
            held[part] = site.call(part.target, *args, **kwargs)
            new.append(held[part])
    _hand_over(node, parts.graph.output_node().args[0], held)
    return new


def _hand_over(node: fx.Node, result: Any, held: dict[fx.Node, fx.Node]) -> None:
    if isinstance(result, Sequence) and not isinstance(node.meta["val"], Sequence):
        (result,) = result
    if isinstance(result, fx.Node):
        replace(node, held[result])
        return
    for user in list(node.users):
        replace(user, held[result[user.args[1]]])
    node.graph.erase_node(node)
