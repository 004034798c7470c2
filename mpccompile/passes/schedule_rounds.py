"""Which rounds wait for which, and an order in which independent work stands together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import networkx as nx

from mpccompile.ir.cost import cost_of
from mpccompile.ir.edit import edited
from mpccompile.ir.rewrite import reorder
from mpccompile.ir.secrecy import infer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import fx

    from mpccompile.ir.program import Program

_KINDS = {"placeholder": 0, "get_attr": 1, "call_function": 2}


def schedule_rounds(program: Program) -> Program:
    """Order calls by multiplicative depth, so that those which can share rounds are neighbours.

    before: ``%a = linear(%x, %w1)``, ``%b = gelu(%a)``, ``%c = linear(%x, %w2)``, ``matmul(%b, %c)``
    after: ``%a = linear(%x, %w1)``, ``%c = linear(%x, %w2)``, ``%b = gelu(%a)``, ``matmul(%b, %c)``

    Within a depth, what sends messages comes first and what is local follows, both in the order they had. Inputs come
    before everything, then the stored tensors. The program is then written as ``a, c = mpc.together(...)`` where a dry
    run, which knows the calibrated ranges, finds that this saves a round and costs no byte.
    """
    edit = edited(program)
    rounds = {node.name: count for node, count in rounds_of(program).items()}
    depths = depths_of(edit.module.graph, rounds)
    nodes = [node for node in edit.nodes if node.op != "output"]
    wanted = sorted(nodes, key=lambda node: (_KINDS[node.op], depths[node.name], not rounds[node.name]))
    moved = [node.name for node, other in zip(nodes, wanted, strict=True) if node is not other]
    if moved:
        reorder(edit.module.graph, wanted)
        edit.changed.extend(moved)
    return edit.done()


def rounds_of(program: Program) -> dict[fx.Node, int]:
    """Return the rounds of each node by itself."""
    levels = infer(program)
    return {node: cost_of(node, levels).rounds for node in program.graph.nodes}


def depths_of(graph: fx.Graph, rounds: Mapping[str, int]) -> dict[str, int]:
    """Return how many calls that send messages lie on the longest way to each node, itself included."""
    depths: dict[str, int] = {}
    for node in graph.nodes:
        before = max((depths[operand.name] for operand in node.all_input_nodes), default=0)
        depths[node.name] = before + (rounds[node.name] > 0)
    return depths


def dependencies(program: Program, measured: Mapping[str, int] | None = None) -> nx.DiGraph:
    """Return the dependency graph: a node for each value with its ``rounds``, an edge from each operand to its reader.

    Edges carry the rounds of the reader as ``rounds``.

    Args:
        program: A lowered program.
        measured: Rounds by the name of the node, 0 for others; by default those of the cost model.
    """
    graph = nx.DiGraph()
    for node, estimated in rounds_of(program).items():
        rounds = estimated if measured is None else measured.get(node.name, 0)
        graph.add_node(node.name, rounds=rounds)
        graph.add_edges_from(((operand.name, node.name) for operand in node.all_input_nodes), rounds=rounds)
    return graph


def critical_path(program: Program, measured: Mapping[str, int] | None = None) -> tuple[list[str], int]:
    """Find the chain of values whose rounds wait for each other the longest.

    Args:
        program: A lowered program.
        measured: As in :func:`dependencies`.

    Returns:
        Names of the nodes on it that send messages, first to last, and the sum of their rounds: what a run takes when
        everything independent shares its rounds.
    """
    graph = dependencies(program, measured)
    path = nx.dag_longest_path(graph, weight="rounds")
    rounds = nx.get_node_attributes(graph, "rounds")
    sending = [name for name in path if rounds[name]]
    return sending, sum(rounds[name] for name in sending)
