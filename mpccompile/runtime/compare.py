"""Signs of secrets: a carry circuit on the bits of the mask, all bits of a word at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from mpccompile.runtime import ring
from mpccompile.runtime.openings import RING_BITS, draw, masked
from mpccompile.runtime.party import Opening, Protocol, current
from mpccompile.runtime.products import product
from mpccompile.runtime.shared import Mask, Shared


def is_negative(x: Shared) -> Protocol[Shared]:
    """Return 1 where x < 0, else 0, as a shared integer (no fractional bits).

    With d = x + r opened, x = d - r, so the top bit of x is the XOR of the top bits of d and r and of the borrow out of
    the bits below. The borrow is generated at a bit where d is 0 and r is 1 and passes through where they agree; both
    are local in XOR shares of r, and a prefix tree of AND gates combines them in log2(64) rounds.
    """
    wire = yield from masked(x, RING_BITS)
    bits = draw("xor_of", x.shape, wire.mask, params=(RING_BITS,))
    rank0 = current().rank == 0
    low = (1 << (RING_BITS - 1)) - 1
    generate = ~wire.delta & bits.share & low
    agree = (bits.share ^ (~wire.delta if rank0 else 0)) & low
    borrow = yield from _top_of_prefix(generate, agree)
    top = ring.logical_shift_right(bits.share ^ (wire.delta if rank0 else 0), RING_BITS - 1) ^ borrow
    return (yield from _to_arithmetic(top & 1))


def _top_of_prefix(generate: Tensor, propagate: Tensor) -> Protocol[Tensor]:
    """Return the carry out of bit 62; at each level bit i absorbs the span that ends ``distance`` bits below it."""
    distance = 1
    while distance < RING_BITS - 1:
        low_generate, low_propagate = generate << distance, propagate << distance
        carried, propagate = yield from _and_pair(propagate, low_generate, low_propagate)
        generate = generate ^ carried
        distance *= 2
    return ring.logical_shift_right(generate, RING_BITS - 2) & 1


def _and_pair(x: Tensor, y: Tensor, z: Tensor) -> Protocol[tuple[Tensor, Tensor]]:
    """Return shares of x & y and x & z for one opening of x, y and z."""
    shape = tuple(x.shape)
    masks = [draw("xor_mask", shape) for _ in range(3)]
    products = [draw("and", shape, masks[0], masks[index], params=(RING_BITS,)) for index in (1, 2)]
    request = tuple(
        Opening(value ^ mask.share, RING_BITS, xor=True) for value, mask in zip((x, y, z), masks, strict=True)
    )
    a, b, c = yield request
    return _and_share(a, b, masks[0], masks[1], products[0]), _and_share(a, c, masks[0], masks[2], products[1])


def _and_share(a: Tensor, b: Tensor, left: Mask, right: Mask, both: Mask) -> Tensor:
    share = both.share ^ (a & right.share) ^ (b & left.share)
    return share ^ (a & b) if current().rank == 0 else share


def _to_arithmetic(bit: Tensor) -> Protocol[Shared]:
    """Turn an XOR-shared bit into an additively shared integer with a dealt random bit known both ways."""
    shape = tuple(bit.shape)
    random_bit = draw("xor_mask", shape)
    integer = draw("bit_of", shape, random_bit, params=(RING_BITS,))
    (opened,) = yield (Opening((bit ^ random_bit.share) & 1, 1, xor=True),)
    share = integer.share * (1 - 2 * opened)
    return Shared(share + opened if current().rank == 0 else share, 0)


def relu(x: Shared) -> Protocol[Shared]:
    """Return max(x, 0), exactly."""
    negative = yield from is_negative(x)
    keep = Shared((1 if current().rank == 0 else 0) - negative.share, 0)
    return (yield from product(x, keep, "mul"))


def maximum(x: Shared, y: Shared) -> Protocol[Shared]:
    """Return the larger of two secrets of the same fractional bits, exactly."""
    gap = yield from relu(Shared(x.share - y.share, x.frac_bits))
    return Shared(y.share + gap.share, x.frac_bits)


def maximum_over_last(x: Shared) -> Protocol[Shared]:
    """Return the largest of the last dim, by a tournament."""
    share = x.share
    while share.shape[-1] > 1:
        half = share.shape[-1] // 2
        left, right = share[..., :half], share[..., half : 2 * half]
        best = yield from maximum(Shared(left, x.frac_bits), Shared(right, x.frac_bits))
        share = torch.cat([best.share, share[..., 2 * half :]], -1)
    return Shared(share.squeeze(-1), x.frac_bits)
