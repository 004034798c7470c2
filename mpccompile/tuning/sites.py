"""The places where a model computes a function that has approximations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpccompile.approximations import APPROXIMATIONS
from mpccompile.errors import OptionError
from mpccompile.ir import ops
from mpccompile.ir.program import Program, Secrecy, origin_of
from mpccompile.ir.rewrite import arguments, is_call, shape_of
from mpccompile.ir.secrecy import infer
from mpccompile.options import REPLACED

if TYPE_CHECKING:
    from mpccompile.ir.rewrite import Target

Candidates = Mapping[str, tuple[str, ...]]
"""Names of approximations to try, by function."""


@dataclass(frozen=True)
class Site:
    """All calls of one function in one module, which an option can only replace together.

    Attributes:
        function: Name of the function in ``ir.ops``, and of the option.
        module_path: The module, and so the option's pattern.
        shapes: Shapes of the arguments once the passes have run: the last layer of a classifier is left with one row
            of each text. Sites of equal shapes save equally much; empty where the passes left no such call.
    """

    function: str
    module_path: str
    shapes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Move:
    """One approximation at one site."""

    site: Site
    name: str


def sites_of(program: Program, optimised: Program) -> tuple[Site, ...]:
    """Return the sites of a recognised program, in its order.

    Args:
        program: The recognised program.
        optimised: The same program after the passes.
    """
    shapes = _shapes(optimised)
    secrecy = infer(program)
    found = {
        (function, origin_of(node).module_path)
        for function in REPLACED
        for node in program.graph.nodes
        if is_call(node, _CALLS[function][0]) and secrecy[node] is Secrecy.SECRET
    }
    order = {origin_of(node).module_path: index for index, node in enumerate(program.graph.nodes)}
    ranked = sorted(found, key=lambda pair: (REPLACED.index(pair[0]), order[pair[1]]))
    return tuple(Site(function, path, tuple(shapes.get((function, path), ()))) for function, path in ranked)


_CALLS: dict[str, tuple[Target, ...]] = {"gelu": (ops.gelu,), "softmax": (ops.softmax, ops.attend)}
"""What computes a function, and what passes make of it."""


def _shapes(optimised: Program) -> dict[tuple[str, str], list[tuple[int, ...]]]:
    shapes: dict[tuple[str, str], list[tuple[int, ...]]] = {}
    for function, calls in _CALLS.items():
        for node in optimised.graph.nodes:
            if is_call(node, *calls):
                shape = shape_of(arguments(node)["x"])
                shapes.setdefault((function, origin_of(node).module_path), []).append(shape)
    return shapes


def all_candidates() -> Candidates:
    """Return every named approximation, by function."""
    return {function: tuple(each.name for each in APPROXIMATIONS if each.replaces == function) for function in REPLACED}


def moves_of(sites: tuple[Site, ...], candidates: Candidates | None) -> tuple[Move, ...]:
    """Return every approximation at every site.

    Args:
        sites: The sites.
        candidates: Which approximations; all by default.

    Raises:
        OptionError: If a candidate is no approximation of its function.
    """
    known = all_candidates()
    chosen = known if candidates is None else candidates
    for function, names in chosen.items():
        unknown = sorted(set(names) - set(known.get(function, ())))
        if function not in known or unknown:
            what = ", ".join(unknown) or "anything"
            listed = "; ".join(f"{key}: {', '.join(values)}" for key, values in known.items())
            raise OptionError(f"{what} is no approximation of {function}", hint=f"There are {listed}.")
    return tuple(Move(site, name) for site in sites for name in chosen.get(site.function, ()))


def options_for(moves: tuple[Move, ...]) -> dict[str, dict[str, str]]:
    """Return moves as fields of :class:`Options`."""
    fields: dict[str, dict[str, str]] = {}
    for move in moves:
        fields.setdefault(move.site.function, {})[move.site.module_path] = move.name
    return fields
