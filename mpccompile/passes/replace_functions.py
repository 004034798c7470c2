"""Put the approximations that the user chose in the place of the model's functions."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from mpccompile.approximations import named
from mpccompile.errors import OptionError
from mpccompile.ir import ops
from mpccompile.ir.edit import REPLACES, edited
from mpccompile.ir.program import origin_of
from mpccompile.ir.rewrite import arguments, is_call
from mpccompile.options import EVERYWHERE, EXACT, REPLACED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import fx

    from mpccompile.ir.edit import Edit
    from mpccompile.ir.program import Program
    from mpccompile.ir.rewrite import Target
    from mpccompile.options import Options

SHOWN_SITES = 4
_OPS: dict[str, Target] = {"gelu": ops.gelu, "softmax": ops.softmax}


def replace_functions(program: Program, options: Options) -> Program:
    """Replace functions by approximations, site by site; the only pass that changes what the model computes.

    before: ``gelu(%x)``, ``softmax(%scores, %mask)``
    after: ``quadratic(%x, 0.125, 0.25, 0.5)``, ``softmax(%scores, %mask, 2quad)`` with gelu="quad", softmax="2quad"

    A site is a call of the function, known by the module it is in. Of the patterns that match it the last one counts.

    Raises:
        OptionError: If a pattern matches no site, or a name is no approximation.
    """
    edit = edited(program)
    for function in REPLACED:
        _replace(edit, function, options.chosen(function))
    return edit.done()


def _replace(edit: Edit, function: str, pairs: Sequence[tuple[str, str]]) -> None:
    sites = [node for node in edit.nodes if _is_exact(node, function) and edit.is_secret(node)]
    known = [*sites, *(node for node in edit.nodes if node.meta.get(REPLACES) == function)]
    for pattern, name in pairs:
        if (pattern, name) != (EVERYWHERE, EXACT) and not any(_matches(site, pattern) for site in known):
            raise _no_site(function, pattern, known)
    for site in sites:
        names = [name for pattern, name in pairs if _matches(site, pattern)]
        chosen = named(function, names[-1]) if names else None
        if chosen is not None:
            edit.approximate(site, chosen.rewrite(edit, site), function, chosen.name)


def _is_exact(node: fx.Node, function: str) -> bool:
    return is_call(node, _OPS[function]) and arguments(node).get("form", "exp") == "exp"


def _matches(site: fx.Node, pattern: str) -> bool:
    return fnmatchcase(origin_of(site).module_path, pattern)


def _no_site(function: str, pattern: str, sites: Sequence[fx.Node]) -> OptionError:
    paths = list(dict.fromkeys(origin_of(site).module_path or "the model itself" for site in sites))
    more = f" and {len(paths) - SHOWN_SITES} more" if len(paths) > SHOWN_SITES else ""
    found = f"There is one at {', '.join(paths[:SHOWN_SITES])}{more}." if paths else f"It computes no {function}."
    return OptionError(
        f"the pattern {pattern!r} matches no {function} of this model",
        where=f"option {function}",
        hint=found,
    )
