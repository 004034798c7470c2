"""What generated programs pass around, and the steps that several operations share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mpccompile.errors import MpcCompileError
from mpccompile.runtime import ring
from mpccompile.runtime.openings import truncate
from mpccompile.runtime.party import Protocol, current
from mpccompile.runtime.products import product, static_product
from mpccompile.runtime.shared import ClientValue, Shared, StaticWeight

Secret = Shared | StaticWeight | ClientValue
"""Values of which a party holds a share; instances of CrypTensor come in through :func:`from_crypten`."""


Public = Tensor | float | int
"""Values that both parties know."""


Value = Secret | Public


Range = tuple[float, float]
"""Lower and upper end of a calibrated range."""


def secret(x: Value) -> Shared:
    """Return a value as a sharing: of a weight rank 1's share is zero, of the client's integers rank 0's is.

    Raises:
        MpcCompileError: If the value is public.
    """
    if isinstance(x, Shared):
        return x
    if isinstance(x, ClientValue):
        return Shared(x.plain, 0)
    if isinstance(x, StaticWeight):
        return Shared(x.plain, x.frac_bits)
    raise MpcCompileError(f"expected a secret value, found {type(x).__name__}")


def fixed(x: Tensor | float, frac_bits: int) -> Tensor:
    """Return a public value as fixed point on the party's device (a shape only, while planning)."""
    party = current()
    tensor = torch.as_tensor(x)
    if party.device.type == "meta" or tensor.device.type == "meta":
        return torch.empty(tensor.shape, dtype=torch.int64, device="meta")
    return ring.encode(tensor.to(party.device), frac_bits)


def is_whole(x: Tensor | float) -> bool:
    """Say whether a public factor is integer by type, so that multiplying adds no fractional bits."""
    return isinstance(x, int) or (isinstance(x, Tensor) and not x.is_floating_point())


def aligned(x: Shared, y: Shared) -> tuple[Shared, Shared]:
    """Bring two secrets to the larger number of fractional bits, exactly."""
    bits = max(x.frac_bits, y.frac_bits)
    return raised_to(x, bits), raised_to(y, bits)


def raised_to(x: Shared, frac_bits: int) -> Shared:
    """Return a secret at ``frac_bits`` fractional bits, no fewer than it has, exactly."""
    shift = frac_bits - x.frac_bits
    return x if shift == 0 else Shared(x.share << shift, frac_bits, bits=min(ring.WORD_BITS, x.bits + shift))


def usual(x: Value) -> Protocol[Shared]:
    """Return a secret at the program's fractional bits, truncated once however many operations ask."""
    value = secret(x)
    # A product of integers has no bits to drop, but may live in a narrow ring: truncating by none lifts it.
    return (yield from truncate(value, min(value.frac_bits, current().frac_bits)))


def added(x: Value, y: Value, sign: int) -> Protocol[Shared]:
    """Return x + sign * y of broadcasting shapes, ``sign`` 1 or -1, at the larger number of fractional bits.

    Raises:
        MpcCompileError: If both are public.
    """
    if not isinstance(x, Secret):
        return (yield from added(Shared(sign * secret(y).share, secret(y).frac_bits), x, 1))
    if isinstance(y, Secret):
        left, right = aligned(secret(x), secret(y))
        return Shared(left.share + sign * right.share, left.frac_bits, bits=min(left.bits, right.bits))
    left = secret(x)
    public = fixed(y, left.frac_bits)
    shape = torch.broadcast_shapes(left.shape, public.shape)
    moved = sign * public if current().rank == 0 else torch.zeros_like(public)
    return Shared((left.share + moved).expand(shape), left.frac_bits, bits=left.bits)


def times(x: Value, y: Value, bound: float | None, *, last: bool) -> Protocol[Shared]:
    """Return x * y element by element, truncated unless a factor is public.

    Args:
        x: Left factor.
        y: Right factor, of a shape that broadcasts.
        bound: What the result's absolute value is proven to stay below.
        last: Whether no product reads the result.

    Raises:
        MpcCompileError: If both are public.
    """
    if not isinstance(y, Secret):
        return (yield from scaled(x, y))
    if not isinstance(x, Secret):
        return (yield from scaled(y, x))
    if isinstance(x, StaticWeight):
        x, y = y, x
    left = yield from usual(x)
    if isinstance(y, StaticWeight):
        raw = yield from static_product(left, y, "mul", bound, last=last)
    else:
        right = yield from usual(y)
        raw = yield from product(left, right, "mul", bound)
    return (yield from usual(raw))


def scaled(x: Value, factor: Tensor | float) -> Protocol[Shared]:
    """Multiply a secret by a public factor; one that is not whole adds the program's fractional bits."""
    if is_whole(factor):
        value = secret(x)
        whole = torch.as_tensor(factor).to(device=value.share.device, dtype=torch.int64)
        return Shared(value.share * whole, value.frac_bits)
    value = yield from usual(x)
    return Shared(value.share * fixed(factor, current().frac_bits), value.frac_bits + current().frac_bits)


def size_of(shape: Sequence[int]) -> int:
    """Return the number of elements of a shape."""
    size = 1
    for length in shape:
        size *= length
    return size


def divided(x: Shared, count: int, frac_bits: int) -> Protocol[Shared]:
    """Divide by a public count and truncate: a power of two exactly, the rest of the count by a factor of 20 bits.

    The factor takes room, so a value that has not been truncated yet is truncated twice.
    """
    halvings = count.bit_length() - 1
    rest = count / (1 << halvings)
    if rest == 1:
        return (yield from truncate(Shared(x.share, x.frac_bits + halvings), frac_bits))
    short = yield from truncate(x, min(x.frac_bits, max(frac_bits, current().frac_bits)))
    factor = round((1 << FACTOR_BITS) / rest)
    scaled = Shared(short.share * factor, short.frac_bits + halvings + FACTOR_BITS)
    return (yield from truncate(scaled, frac_bits))


FACTOR_BITS = 20
"""Fractional bits of one over what is left of a count, which is between 1 and 2."""
