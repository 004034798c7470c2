"""Where two programs that should compute the same begin to differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx

from mpccompile.ir.rewrite import weight_data

if TYPE_CHECKING:
    from mpccompile.ir.program import Program

Values = Mapping[str, Tensor]


@dataclass(frozen=True)
class Difference:
    """The first value that is wrong, and what it should have been.

    Attributes:
        node: The call that computes it, in the later program.
        was: Name of the value in the earlier program that it takes the place of; empty where there is none.
        error: How far it is off, as :func:`relative_error` has it; infinite where nothing can be compared.
        edited: The calls that were edited and that it is computed from, itself among them if it was; first to last.
    """

    node: fx.Node
    was: str
    error: float
    edited: tuple[fx.Node, ...]


def relative_error(answer: Tensor, reference: Tensor) -> float:
    """Return the largest difference, relative to the largest finite entry of the reference or to 1.

    Infinite when the shapes differ, or when one is not a number, or infinite, where the other is.
    """
    if answer.shape != reference.shape:
        return float("inf")
    if reference.numel() == 0:
        return 0.0
    same = (answer == reference) | (answer.isnan() & reference.isnan())
    gap = torch.where(same, 0.0, (answer.double() - reference.double()).abs())
    size = reference.double().abs()
    largest = float(size[size.isfinite()].max()) if bool(size.isfinite().any()) else 0.0
    worst = float(gap.nan_to_num(float("inf"), posinf=float("inf")).max())
    return worst / max(1.0, largest)


def values_of(program: Program) -> Values:
    """Run a program on its example inputs and return what each of its calls gives, by name."""
    values: dict[str, Tensor] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            result = super().run_node(n)
            if n.op == "call_function" and isinstance(result, Tensor):
                values[n.name] = result
            return result

    with torch.no_grad():
        Recorder(program.module).run(*program.example_inputs)
    return values


def first_failure(before: Program, after: Program) -> tuple[Difference, str] | None:
    """Find the call of ``after`` that cannot be computed, and what it says; None where all of them can.

    What it is compared with is left out: its operands may be wrong before it.
    """
    reached: list[fx.Node] = []

    class Tracker(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            reached.append(n)
            return super().run_node(n)

    try:
        with torch.no_grad():
            Tracker(after.module).run(*after.example_inputs)
    except Exception as error:  # noqa: BLE001 - whatever a broken graph raises is what is looked for
        node = reached[-1]
        behind = _suspects([node], {}, 0.0)
        edited = tuple(each for each in after.graph.nodes if each in behind and _is_edited(each, before, after))
        said = (str(error).strip().splitlines() or [""])[0]
        return Difference(node, "", float("inf"), edited), f"{type(error).__name__}: {said}"
    return None


def first_difference(
    before: Program, after: Program, old: Values, wrong: Iterable[int], tolerance: float
) -> Difference | None:
    """Find the call where an error begins that reaches the outputs.

    Going back from the outputs that are wrong, every value that is right ends the search: what a pass scaled on purpose
    and scales back is none of the error. Values of the same name are compared, and a new value with the one whose place
    it takes with one that reads it.

    Args:
        before: A program.
        after: What was made of it.
        old: The values of ``before``, as :func:`values_of` gave them.
        wrong: Which outputs of ``after`` are wrong.
        tolerance: Largest error of a value that is right.

    Returns:
        The first of them in the order of ``after``; None where no call leads to a wrong output.
    """
    new, places = values_of(after), _places(before, after)
    errors = {name: relative_error(new[name], old[was]) for name, was in places.items() if name in new and was in old}
    outputs = _inputs_of(after.graph.output_node())
    suspects = _suspects([outputs[index] for index in wrong if index < len(outputs)], errors, tolerance)
    order = [node for node in after.graph.nodes if node in suspects]
    bad = [node for node in order if errors.get(node.name, 0.0) > tolerance]
    # The first in order has no other before it.
    node = bad[0] if bad else order[-1] if order else None
    if node is None:
        return None
    behind = _suspects([node], errors, tolerance)
    changed = tuple(each for each in order if each in behind and _is_edited(each, before, after))
    return Difference(node, places.get(node.name, ""), errors.get(node.name, float("inf")), changed)


def _inputs_of(node: fx.Node) -> list[fx.Node]:
    """Return the nodes among the arguments in order, one that is there twice twice."""
    found: list[fx.Node] = []
    fx.map_arg((node.args, node.kwargs), found.append)
    return found


def _places(before: Program, after: Program) -> dict[str, str]:
    """Return for values of ``after`` the name of the value of ``before`` that they should equal."""
    old, new = ({node.name: node for node in program.graph.nodes} for program in (before, after))
    places = {name: name for name in new if name in old}
    for name in list(places):
        reads, used_to = _inputs_of(new[name]), _inputs_of(old[name])
        if len(reads) != len(used_to):
            continue
        for node, was in zip(reads, used_to, strict=True):
            if node.op == "call_function" and node.name not in old:
                places.setdefault(node.name, was.name)
    return places


def _suspects(start: Iterable[fx.Node], errors: Mapping[str, float], tolerance: float) -> set[fx.Node]:
    """Return the calls that lead to ``start`` and are not known to be right."""
    found: set[fx.Node] = set()
    waiting = list(start)
    while waiting:
        node = waiting.pop()
        if node in found or node.op != "call_function" or errors.get(node.name, float("inf")) <= tolerance:
            continue
        found.add(node)
        waiting += node.all_input_nodes
    return found


def _is_edited(node: fx.Node, before: Program, after: Program) -> bool:
    """Say whether a call is new, has other arguments, or reads a stored tensor with other numbers."""
    was = next((each for each in before.graph.nodes if each.name == node.name), None)
    if was is None or was.target is not node.target:
        return True
    if _told(was) != _told(node):
        return True
    stored = [each for each in _inputs_of(node) if each.op == "get_attr"]
    kept = [each for each in _inputs_of(was) if each.op == "get_attr"]
    pairs = zip(stored, kept, strict=True)
    return not all(torch.equal(weight_data(after.module, one), weight_data(before.module, two)) for one, two in pairs)


def _told(node: fx.Node) -> str:
    # Stored tensors are compared by their numbers: one that is stored anew may have another name.
    named = fx.map_arg((node.args, node.kwargs), lambda arg: arg.op if arg.op == "get_attr" else arg.name)
    return repr(named)
