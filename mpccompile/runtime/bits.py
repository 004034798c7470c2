"""Bits of secret words: a carry circuit on XOR shares that throws half of its bits away at each level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from mpccompile.runtime.openings import draw
from mpccompile.runtime.party import Opening, Protocol, current
from mpccompile.runtime.shared import Mask, Shared, Wire


@dataclass(frozen=True)
class Bit:
    """Secret bits that were opened under random ones: bit = opened XOR random.

    Attributes:
        opened: 0 or 1, known to both parties.
        random: Additive shares of the random bits.
    """

    opened: Tensor
    random: Mask

    @property
    def number(self) -> Shared:
        """The bits as shared integers."""
        share = self.random.share * (1 - 2 * self.opened)
        return Shared(share + self.opened if current().rank == 0 else share, 0)

    def times(self, x: Shared, wire: Wire) -> Tensor:
        """Return this party's share of bit * x, right modulo 2^wire.bits, for no message.

        With b = c XOR rho and x = delta - r: b x = c x + (1 - 2c) (delta rho - rho r), of which [rho r] is dealt.

        Args:
            x: A secret of the shape of the bits.
            wire: Its opening.
        """
        both = draw("mul", x.shape, self.random, wire.mask)
        return self.opened * x.share + (1 - 2 * self.opened) * (wire.delta * self.random.share - both.share)


def top_bit(wire: Wire, bits: int) -> Protocol[Bit]:
    """Return the top bit of a value that was opened under a mask, modulo 2^bits.

    With d = x + r opened, x = d - r, so the top bit of x is the XOR of the top bits of d and r and of the borrow out of
    the bits below. The borrow is generated at a bit where d is 0 and r is 1 and passes through where they agree; both
    are local in XOR shares of r. Neighbouring spans are merged until one is left: half of the ANDs of a prefix tree of
    the same depth are at its first level, and none of its other outputs is needed.

    Args:
        wire: The opening, of ``bits`` bits or more.
        bits: A power of two.
    """
    rank0 = current().rank == 0
    words = draw("xor_of", tuple(wire.delta.shape), wire.mask, params=(bits,))
    low = (1 << (bits - 1)) - 1
    generate = (~wire.delta & words.share & low) << 1
    # The lowest of the spans is one that passes on and has nothing below it.
    agree = ((words.share ^ (~wire.delta if rank0 else 0)) & low) << 1 | int(rank0)
    borrow = yield from _carry(generate, agree, bits)
    top = (words.share ^ (wire.delta if rank0 else 0)) >> (bits - 1)
    return (yield from _opened(top ^ borrow, bits))


def _carry(generate: Tensor, propagate: Tensor, bits: int) -> Protocol[Tensor]:
    """Return, in the lowest bit, what is carried out of ``bits`` spans of one bit each.

    The bits stand in reversed order of their places, so that neighbours are a half of the word apart at every level.
    """
    generate, propagate = _reversed(generate, bits), _reversed(propagate, bits)
    half = bits // 2
    while half:
        needed = (generate, propagate) if half > 1 else (generate,)
        carried, *rest = yield from _ands(propagate >> half, needed, half)
        generate = (generate >> half) ^ carried
        propagate = rest[0] if rest else propagate
        half //= 2
    return generate


def _reversed(word: Tensor, bits: int) -> Tensor:
    """Move bit i of the lowest ``bits`` bits to where the binary digits of i are in reversed order."""
    digits = bits.bit_length() - 1
    pairs = [(1 << digit, bits >> (digit + 1)) for digit in range(digits // 2)]
    for low, high in pairs:
        both = _places_without(bits, low, high)
        distance = high - low
        swapped = ((word >> distance) ^ word) & both
        word = word ^ swapped ^ (swapped << distance)
    return word


def _places_without(bits: int, low: int, high: int) -> int:
    """Return a word of the places whose number has the binary digit ``low`` and not ``high``."""
    return sum(1 << place for place in range(bits) if place & low and not place & high)


def _ands(x: Tensor, others: Sequence[Tensor], bits: int) -> Protocol[list[Tensor]]:
    """Return XOR shares of x & y for each y, for one opening of all, in the lowest ``bits`` bits."""
    shape = tuple(x.shape)
    left, *rights = [draw("xor_mask", shape) for _ in (x, *others)]
    products = [draw("and", shape, left, right, params=(bits,)) for right in rights]
    request = tuple(
        Opening(value ^ mask.share, bits, xor=True) for value, mask in zip((x, *others), (left, *rights), strict=True)
    )
    a, *opened = yield request
    return [_and_share(a, b, left, right, both) for b, right, both in zip(opened, rights, products, strict=True)]


def _and_share(a: Tensor, b: Tensor, left: Mask, right: Mask, both: Mask) -> Tensor:
    share = both.share ^ (a & right.share) ^ (b & left.share)
    return share ^ (a & b) if current().rank == 0 else share


def _opened(bit: Tensor, bits: int) -> Protocol[Bit]:
    """Open XOR-shared bits, the lowest of each word, under dealt ones that are known as integers modulo 2^bits too."""
    shape = tuple(bit.shape)
    random = draw("xor_mask", shape)
    number = draw("bit_of", shape, random, params=(bits,))
    (opened,) = yield (Opening((bit ^ random.share) & 1, 1, xor=True),)
    return Bit(opened, number)
