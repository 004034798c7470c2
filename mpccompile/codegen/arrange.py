"""Which statements of a program run side by side, and where the others go."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from torch import fx

Item = tuple[fx.Node, ...]
"""Nodes that are written as one: a single node, or several calls that run side by side."""


@dataclass(frozen=True)
class Sent:
    """What one statement sends: bytes of both parties, and the rounds booked on it."""

    bytes_sent: int = 0
    rounds: int = 0


Costs = Mapping[str, Sent]
"""What statements cost in a dry run, by the name of their node."""


def one_by_one(graph: fx.Graph) -> list[Item]:
    """Return every node by itself, in order."""
    return [(node,) for node in graph.nodes]


def in_steps(graph: fx.Graph, rounds: Mapping[str, int], apart: Collection[str] = (), *, hold: bool) -> list[Item]:
    """Return the nodes in steps: at each, calls that send and have their operands run side by side.

    Local calls follow the step that they wait for. A group holds only what is ready at the same time, so nothing in it
    needs anything else in it.

    Args:
        graph: A graph in the order of its levels, as ``schedule_rounds`` leaves it; a group keeps that order.
        rounds: Of the calls that send, by the name of their node.
        apart: Names of calls that run alone.
        hold: Whether a call that takes more rounds than the one with the longest way to go is held back, to run beside
            another long one; otherwise all that is ready runs.
    """
    inputs = {node: node.all_input_nodes for node in graph.nodes}
    chooser = _Chooser(rounds, _ways(graph, rounds), frozenset(apart), hold)
    items: list[Item] = []
    done: set[fx.Node] = set()
    waiting = [node for node in graph.nodes if node.op != "output"]
    while waiting:
        ready: list[fx.Node] = []
        for node in waiting:
            if not done.issuperset(inputs[node]):
                continue
            if rounds.get(node.name):
                ready.append(node)
            else:
                items.append((node,))
                done.add(node)
        if ready:
            items.append(chooser.step(ready))
            done.update(items[-1])
        waiting = [node for node in waiting if node not in done]
    return [*items, (graph.output_node(),)]


@dataclass(frozen=True)
class _Chooser:
    """Picks who runs next."""

    rounds: Mapping[str, int]
    ways: Mapping[fx.Node, int]
    apart: frozenset[str]
    hold: bool

    def step(self, ready: Sequence[fx.Node]) -> Item:
        first = max(ready, key=lambda node: (self.ways[node], self.rounds[node.name]))
        if first.name in self.apart:
            return (first,)
        others = [node for node in ready if node.name not in self.apart]
        return tuple(node for node in others if not self.hold or self.rounds[node.name] <= self.rounds[first.name])


def _ways(graph: fx.Graph, rounds: Mapping[str, int]) -> dict[fx.Node, int]:
    """Return the rounds of the longest way from each node to the end, its own included."""
    ways: dict[fx.Node, int] = {}
    for node in reversed(graph.nodes):
        ways[node] = rounds.get(node.name, 0) + max((ways[user] for user in node.users), default=0)
    return ways


def side_by_side(graph: fx.Graph, dry_run: Callable[[Sequence[Item]], Costs], alone: Costs) -> list[Item]:
    """Return the items of a program, with groups where they save rounds and cost no byte more.

    Of two ways to choose the steps, the one that takes fewer rounds is taken. A group that saves nothing is dissolved.
    Where a program sends more than one by one, because a value is opened before the wider opening that used to serve
    it, the statement that does leaves its group.

    Args:
        graph: A graph in the order of its levels.
        dry_run: Returns what the statements of a program cost.
        alone: The same for statements one by one.
    """
    rounds = {name: sent.rounds for name, sent in alone.items() if sent.rounds}
    apart: set[str] = set()
    while True:
        choices = [in_steps(graph, rounds, apart, hold=hold) for hold in (False, True)]
        items = min(choices, key=lambda items: _expected(items, rounds))
        if all(len(item) == 1 for item in items):
            return one_by_one(graph)
        costs = dry_run(items)
        found = _useless(items, costs, alone) or _wasteful(items, costs, alone)
        if not found:
            return items
        apart |= found


def _expected(items: Sequence[Item], rounds: Mapping[str, int]) -> int:
    return sum(max(rounds.get(node.name, 0) for node in item) for item in items)


def _rounds(item: Item, costs: Costs) -> int:
    return sum(costs.get(node.name, Sent()).rounds for node in item)


def _growth(node: fx.Node, costs: Costs, alone: Costs) -> int:
    return costs.get(node.name, Sent()).bytes_sent - alone.get(node.name, Sent()).bytes_sent


def _useless(items: Sequence[Item], costs: Costs, alone: Costs) -> set[str]:
    """Return the members of groups that take as many rounds as they did apart."""
    groups = [item for item in items if len(item) > 1 and _rounds(item, costs) >= _rounds(item, alone)]
    return {node.name for group in groups for node in group}


def _wasteful(items: Sequence[Item], costs: Costs, alone: Costs) -> set[str]:
    """Return who to take out of a group when more is sent than one by one: nobody, if it is not."""
    last: set[str] = set()
    if sum(_growth(node, costs, alone) for item in items for node in item) <= 0:
        return last
    for item in items:
        grown = max(item, key=lambda node: _growth(node, costs, alone))
        if len(item) > 1:
            last = {node.name for node in item}
        if _growth(grown, costs, alone) > 0 and last:
            return {grown.name} if len(item) > 1 else last
    return last
