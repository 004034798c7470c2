"""Who may know each value of a program."""

from __future__ import annotations

from torch import fx

from mpccompile.ir.program import Program, Secrecy

# Calls whose answer depends on the shape of their operand only, never on its data.
_SHAPE_ONLY = frozenset(
    {
        "aten::size",
        "aten::sym_size",
        "aten::numel",
        "aten::sym_numel",
        "aten::empty_like",
        "aten::zeros_like",
        "aten::ones_like",
        "aten::new_empty",
        "aten::new_zeros",
        "aten::new_ones",
    }
)
# As above, with a fill value whose data does matter.
_FILLED = frozenset({"aten::new_full", "aten::full_like"})


def infer(program: Program) -> dict[fx.Node, Secrecy]:
    """Find who may know each value.

    An input is what its spec says; an attribute is secret when the program lists it; a call is public when everything
    it is computed from is public, or when it reads no more than the shape of what is secret.

    Returns:
        One level for every node, the output included.
    """
    inputs = {spec.name: spec.secrecy for spec in program.inputs}
    levels: dict[fx.Node, Secrecy] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            levels[node] = inputs[str(node.target)]
        elif node.op == "get_attr":
            levels[node] = Secrecy.SECRET if str(node.target) in program.secret_attributes else Secrecy.PUBLIC
        else:
            levels[node] = level_of_call(node, levels)
    return levels


def reads_shape_only(node: fx.Node) -> bool:
    """Say whether a call reads no more of its operands than their shape."""
    return _name(node) in _SHAPE_ONLY


def _name(node: fx.Node) -> str:
    # "aten::zeros_like" of an overload; the functions of ir.ops have none.
    return str(getattr(node.target, "_name", "")).partition(".")[0]


def level_of_call(node: fx.Node, levels: dict[fx.Node, Secrecy]) -> Secrecy:
    """Return the level of a call whose operands' levels are known."""
    operands = node.all_input_nodes
    if _name(node) in _FILLED:
        operands = [fill for fill in (*node.args[1:], *node.kwargs.values()) if isinstance(fill, fx.Node)]
    elif reads_shape_only(node):
        operands = []
    secret = any(levels[operand] is Secrecy.SECRET for operand in operands)
    return Secrecy.SECRET if secret else Secrecy.PUBLIC
