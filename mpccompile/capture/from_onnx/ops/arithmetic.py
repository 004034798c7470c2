"""Arithmetic element by element."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

from mpccompile.capture.from_onnx.registry import Refused, Site, at_first, imports
from mpccompile.capture.from_onnx.tensors import short

Unary = Callable[[Tensor], Tensor]

_PRIVATE: dict[str, Unary] = {
    "Abs": torch.abs,
    "Exp": torch.exp,
    "Neg": torch.neg,
    "Reciprocal": torch.reciprocal,
    "Sqrt": torch.sqrt,
}
_PUBLIC: dict[str, Unary] = {
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Floor": torch.floor,
    "Log": torch.log,
    "Round": torch.round,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Tan": torch.tan,
}


@imports(*_PRIVATE)
def unary(site: Site, x: Tensor) -> Tensor:
    """A function of one variable with a private form."""
    return _PRIVATE[site.op](x)


@imports(*_PUBLIC, private=False)
def public_unary(site: Site, x: Tensor) -> Tensor:
    """A function of one variable that public values alone go through."""
    return _PUBLIC[site.op](x)


@imports("Erf")
def erf(_site: Site, x: Tensor) -> Tensor:
    """The error function, which is private inside a GELU."""
    return torch.erf(x)


@imports("Add")
def add(site: Site, *operands: Tensor) -> Tensor:
    """``x + y``."""
    x, y = site.scalars(*operands)
    return y + x if isinstance(y, Tensor) and not isinstance(x, Tensor) else torch.add(at_first(x, [y]), y)


@imports("Sub")
def sub(site: Site, *operands: Tensor) -> Tensor:
    """``x - y``."""
    x, y = site.scalars(*operands)
    return torch.rsub(y, x) if isinstance(y, Tensor) and not isinstance(x, Tensor) else torch.sub(at_first(x, [y]), y)


@imports("Mul")
def mul(site: Site, *operands: Tensor) -> Tensor:
    """``x * y``."""
    x, y = site.scalars(*operands)
    return y * x if isinstance(y, Tensor) and not isinstance(x, Tensor) else torch.mul(at_first(x, [y]), y)


@imports("Div")
def div(site: Site, *operands: Tensor) -> Tensor:
    """``x / y``; of whole numbers rounded towards 0."""
    x, y = site.scalars(*operands)
    first = at_first(x, [y])
    if not operands[0].is_floating_point():
        return torch.div(first, y, rounding_mode="trunc")
    if not isinstance(x, Tensor) and isinstance(y, Tensor):
        return torch.reciprocal(y) if x == 1 else torch.reciprocal(y) * x
    return torch.div(first, y)


@imports("Pow")
def power(site: Site, x: Tensor, y: Tensor) -> Tensor:
    """``x ** y``; private where y is a number that is known."""
    stored = site.stored[1] if site.known[1] is None else site.known[1]
    answer = torch.pow(x, short(stored.item())) if stored is not None and stored.size == 1 else torch.pow(x, y)
    return answer.to(x.dtype)


@imports("Mod", private=False)
def mod(site: Site, x: Tensor, y: Tensor) -> Tensor:
    """The remainder, with the sign of y, or of x where ``fmod`` is 1."""
    return torch.fmod(x, y) if site.attribute("fmod", 0) else torch.remainder(x, y)


@imports("Sum")
def total(_site: Site, *xs: Tensor) -> Tensor:
    """The sum of all operands."""
    return reduce(torch.add, xs)


@imports("Mean")
def mean(_site: Site, *xs: Tensor) -> Tensor:
    """The mean of all operands."""
    return reduce(torch.add, xs) / len(xs) if len(xs) > 1 else xs[0]


@imports("Max")
def largest(_site: Site, *xs: Tensor) -> Tensor:
    """The largest of all operands."""
    return reduce(torch.maximum, xs)


@imports("Min")
def smallest(_site: Site, *xs: Tensor) -> Tensor:
    """The smallest of all operands."""
    return reduce(torch.minimum, xs)


@imports("Clip")
def clip(site: Site, x: Tensor, *_: Tensor | None) -> Tensor:
    """Both bounds have to be known; one left out is none."""
    low, high = site.number(1), site.number(2)
    if low is None and high is None:
        return x
    if low is not None and high is not None and low > high:
        # ONNX takes the upper bound then.
        return torch.full_like(x, high)
    return torch.clamp(x, low, high)


@imports("CumSum", private=False)
def cumsum(site: Site, x: Tensor, *_: Tensor) -> Tensor:
    """The sum of what comes before along one axis, with the element itself unless ``exclusive``."""
    axis = site.ints(1)
    if axis is None:
        raise Refused("its axis is missing")
    dim = axis[0]
    values = x.flip(dim) if site.attribute("reverse", 0) else x
    totals = torch.cumsum(values, dim, dtype=x.dtype)
    if site.attribute("exclusive", 0):
        totals = totals - values
    return totals.flip(dim) if site.attribute("reverse", 0) else totals
