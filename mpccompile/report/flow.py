"""A model drawn as its layers: a box for each, on the level that its operands put it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import networkx as nx

if TYPE_CHECKING:
    from mpccompile.ir.snapshot import Snapshot


def layer_of(path: str) -> str:
    """Return the layer a module is in: down to the first number in its path, or else its first two parts."""
    parts = path.split(".")
    depth = next((index for index, part in enumerate(parts) if part.isdigit()), 1)
    return ".".join(parts[: depth + 1])


def flow(statements: Sequence[dict[str, Any]], graph: Snapshot) -> dict[str, Any]:
    """Return boxes with their level and costs, and edges between them by number, as JSON values.

    Args:
        statements: Statements in the order of the program, each with ``module``, ``node``, ``bytes``, ``rounds``,
            ``critical``.
        graph: The last graph, for the edges; without it each layer follows the one before.
    """
    boxes: dict[str, dict[str, Any]] = {}
    for row in statements:
        path = layer_of(row["module"])
        new = {"path": path, "count": 0, "bytes": 0, "rounds": 0, "critical": False}
        box = boxes.setdefault(path, new)
        box["count"] += 1
        box["bytes"] += max(row["bytes"])
        box["rounds"] += row["rounds"]
        box["critical"] |= row["critical"]
    numbers = {path: index for index, path in enumerate(boxes)}
    edges = _edges(numbers, graph) if graph else [(index, index + 1) for index in range(len(boxes) - 1)]
    layers = nx.DiGraph(edges)
    layers.add_nodes_from(range(len(boxes)))
    for level, members in enumerate(nx.topological_generations(layers)):
        for member in members:
            list(boxes.values())[member]["level"] = level
    return {"boxes": list(boxes.values()), "edges": [list(edge) for edge in edges]}


def _edges(numbers: dict[str, int], graph: Snapshot) -> list[tuple[int, int]]:
    """Return who reads whom, each pair once; what would lead back to an earlier layer is left out."""
    place = {row.name: numbers.get(layer_of(row.module_path)) for row in graph if row.op != "input"}
    found = set()
    for row in graph:
        here = place.get(row.name)
        for name in row.reads:
            there = place.get(name)
            if here is not None and there is not None and there < here:
                found.add((there, here))
    return sorted(found)
