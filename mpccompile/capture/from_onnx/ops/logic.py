"""Comparisons, logic and selection. On secret values none has a private form, but where it masks a softmax."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mpccompile.capture.from_onnx.registry import Site, at_first, imports
from mpccompile.capture.from_onnx.rewrites import NO_PADDING, PADDING
from mpccompile.capture.from_onnx.tensors import short

_COMPARISONS: dict[str, Callable[[Tensor, Tensor | float], Tensor]] = {
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
}
_LOGIC: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "And": torch.logical_and,
    "Or": torch.logical_or,
    "Xor": torch.logical_xor,
    "BitwiseAnd": torch.bitwise_and,
    "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
}


@imports(*_COMPARISONS, private=False)
def compare(site: Site, *operands: Tensor) -> Tensor:
    """A comparison."""
    x, y = site.scalars(*operands)
    return _COMPARISONS[site.op](at_first(x, [y]), y)


@imports(*_LOGIC, private=False)
def combine(site: Site, x: Tensor, y: Tensor) -> Tensor:
    """Logic of two operands, element by element or bit by bit."""
    return _LOGIC[site.op](x, y)


@imports("Not", private=False)
def invert(_site: Site, x: Tensor) -> Tensor:
    """``not x``."""
    return torch.logical_not(x)


@imports("BitShift", private=False)
def shift(site: Site, x: Tensor, y: Tensor) -> Tensor:
    """Bits moved to the left or the right."""
    moved = torch.bitwise_left_shift if site.attribute("direction") == "LEFT" else torch.bitwise_right_shift
    return moved(x, y)


@imports("IsNaN", private=False)
def is_nan(_site: Site, x: Tensor) -> Tensor:
    """Whether an element is no number."""
    return torch.isnan(x)


@imports("IsInf", private=False)
def is_inf(site: Site, x: Tensor) -> Tensor:
    """Whether an element is infinite, of the signs that are asked for."""
    found = torch.zeros_like(x, dtype=torch.bool)
    if site.attribute("detect_positive", 1):
        found = found | (x == float("inf"))
    if site.attribute("detect_negative", 1):
        found = found | (x == float("-inf"))
    return found


@imports("Where")
def where(site: Site, *operands: Tensor) -> Tensor:
    """``x`` where a public condition holds, else ``y``."""
    condition, x, y = operands
    if site.known[0] is not None and all(known is not None for known in site.known):
        return torch.where(condition, x, y)
    first, second = _filler(site, 1, operands), _filler(site, 2, operands)
    if isinstance(first, Tensor) or isinstance(second, Tensor):
        return torch.where(condition, first, second)
    return torch.where(condition, x, second)


def _filler(site: Site, position: int, operands: tuple[Tensor, ...]) -> Tensor | float:
    """Return a known operand of one element as a number, where the others give the answer its rank and dtype."""
    known = site.known[position]
    rank = max(operand.dim() for index, operand in enumerate(operands) if index != position)
    if known is None or known.size != 1 or known.ndim > rank or known.dtype.kind != "f":
        return operands[position]
    value: float = short(float(known.item()))
    return value


@imports(PADDING, private=False)
def padding(_site: Site, mask: Tensor) -> Tensor:
    """Which tokens a mask says are padding."""
    return mask == 0


@imports(NO_PADDING, shape_only=True)
def no_padding(_site: Site, ids: Tensor) -> Tensor:
    """No token is padding."""
    return torch.zeros(tuple(ids.shape), dtype=torch.bool)
