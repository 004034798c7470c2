"""Functions that users may choose in place of a model's own, one per file; none is on by default."""

from __future__ import annotations

from mpccompile.approximations import gelu_quad, gelu_relu, softmax_2quad, softmax_2relu
from mpccompile.approximations.approximation import Approximation
from mpccompile.errors import OptionError
from mpccompile.options import EXACT, REPLACED, Options

__all__ = ["APPROXIMATIONS", "Approximation", "check", "named"]

APPROXIMATIONS: tuple[Approximation, ...] = (
    gelu_quad.APPROXIMATION,
    gelu_relu.APPROXIMATION,
    softmax_2quad.APPROXIMATION,
    softmax_2relu.APPROXIMATION,
)


def named(function: str, name: str) -> Approximation | None:
    """Return the approximation of a function by its name; None for ``"exact"``.

    Raises:
        OptionError: If there is no such one.
    """
    known = {each.name: each for each in APPROXIMATIONS if each.replaces == function}
    if name != EXACT and name not in known:
        raise OptionError(
            f"{name!r} is no approximation of {function}",
            where=f"option {function}",
            hint=f"There are {', '.join((EXACT, *known))}; mpccompile passes tells of each.",
        )
    return known.get(name)


def check(options: Options) -> Options:
    """Return options whose approximations all exist.

    Raises:
        OptionError: If one does not.
    """
    for function in REPLACED:
        for _pattern, name in options.chosen(function):
            named(function, name)
    return options
