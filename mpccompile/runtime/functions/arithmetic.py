"""Element by element, and sums."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mpccompile.runtime.functions.values import Range, Secret, Value, added, divided, secret, size_of, times, usual
from mpccompile.runtime.party import Protocol, current
from mpccompile.runtime.products import square as squared
from mpccompile.runtime.quadratics import quadratic as of_degree_two
from mpccompile.runtime.shared import Shared
from mpccompile.runtime.statements import private_function


@private_function
def add(x: Value, y: Value) -> Protocol[Shared]:
    """Add; no message."""
    return (yield from added(x, y, 1))


@private_function
def sub(x: Value, y: Value) -> Protocol[Shared]:
    """Subtract; no message."""
    return (yield from added(x, y, -1))


@private_function
def neg(x: Secret) -> Protocol[Shared]:
    """Negate; no message."""
    value = secret(x)
    return Shared(-value.share, value.frac_bits, bits=value.bits)
    yield ()


@private_function
def mul(x: Value, y: Value, *, bound: float | None = None, last: bool = False) -> Protocol[Shared]:
    """Multiply element by element; a public factor costs no opening until the result is truncated.

    ``bound``, here and below, is what the result's absolute value is proven to stay below: it lets a product use the
    masked openings that truncations leave, in a narrower ring. ``last`` says that no product reads the result, so that
    no wide opening of it need be left in turn.
    """
    return (yield from times(x, y, bound, last=last))


@private_function
def square(x: Secret) -> Protocol[Shared]:
    """Square for one opening."""
    value = yield from usual(x)
    raw = yield from squared(value)
    return (yield from usual(raw))


@private_function
def quadratic(
    x: Secret, a: float, b: float, c: float, *, scope: Range | None = None, bound: float | None = None
) -> Protocol[Shared]:
    """Return ``a x^2 + b x + c`` for one opening at most and one truncation.

    ``scope`` is the calibrated range of x, which is tested; without it, ``bound`` is proven for every input.
    """
    value = yield from usual(x)
    raw = yield from of_degree_two(value, (a, b, c), scope, bound)
    return (yield from usual(raw))


@private_function
def where(mask: Tensor, x: Value, y: Value) -> Protocol[Shared]:
    """Pick by a public mask; no message."""
    keep = mask.to(torch.int64)
    sides: list[Value] = []
    for value, chosen in ((x, keep), (y, 1 - keep)):
        if isinstance(value, Secret):
            side = secret(value)
            sides.append(Shared(side.share * chosen.to(side.share.device), side.frac_bits))
        else:
            sides.append(torch.as_tensor(value) * chosen)
    return (yield from added(sides[0], sides[1], 1))


@private_function
def mean(x: Secret, dims: Sequence[int], keepdim: bool = False) -> Protocol[Shared]:
    """Mean over dims; one truncation of the result."""
    value = secret(x)
    count = size_of([value.shape[dim] for dim in dims])
    total = Shared(value.share.sum(tuple(dims), keepdim=keepdim), value.frac_bits)
    if count == 1:
        return total
    return (yield from divided(total, count, current().frac_bits))


@private_function
def sum(x: Secret, dims: Sequence[int], keepdim: bool = False) -> Protocol[Shared]:  # noqa: A001 - as in ir.ops
    """Sum over dims; no message."""
    value = secret(x)
    return Shared(value.share.sum(tuple(dims), keepdim=keepdim), value.frac_bits)
    yield ()
