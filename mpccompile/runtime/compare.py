"""Signs, and what is decided by them: the larger of two secrets, and the largest of many."""

from __future__ import annotations

import torch

from mpccompile.runtime.bits import Bit, top_bit
from mpccompile.runtime.openings import RING_BITS, masked
from mpccompile.runtime.party import Protocol, current, together
from mpccompile.runtime.shared import Shared, Wire

NARROW_BITS = 32
"""The ring in which values that are proven to fit are compared: half of the bytes of a full one."""


def is_negative(x: Shared) -> Protocol[Shared]:
    """Return 1 where x < 0, else 0, as a shared integer (no fractional bits)."""
    negative, _wire = yield from _sign(x, RING_BITS)
    return negative.number


def _sign(x: Shared, bits: int) -> Protocol[tuple[Bit, Wire]]:
    """Return whether each value modulo 2^bits is negative, and the opening that said so."""
    wire = yield from masked(x, bits)
    negative = yield from top_bit(wire, bits)
    return negative, wire


def relu(x: Shared) -> Protocol[Shared]:
    """Return max(x, 0), exactly."""
    negative, wire = yield from _sign(x, RING_BITS)
    return Shared(x.share - negative.times(x, wire), x.frac_bits)


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


def place_of_largest(x: Shared, bits: int) -> Protocol[Shared]:
    """Return where the first of the largest of the last dim is, [...], as shared integers that are right modulo 2^bits.

    A tournament of neighbours, whose winners bring their places along. Nothing is known of who won: a bit is opened
    under a random one, and with it both the winner and its place are chosen locally.

    Args:
        x: Values [..., n], any two of them less than 2^(bits - 1) apart.
        bits: Ring to compare in, a power of two.
    """
    share, places = x.share, _own(torch.arange(x.shape[-1], device=x.share.device).expand(x.shape))
    first = True
    while share.shape[-1] > 1:
        even, odd, rest = _neighbours(share)
        even_places, odd_places, rest_places = _neighbours(places)
        gap = Shared(even - odd, x.frac_bits, bits=bits)
        if first:
            # All places are known still, and two neighbours are 1 apart.
            right, wire = yield from _sign(gap, bits)
            place = even_places + right.number.share
        else:
            apart = Shared(even_places - odd_places, 0, bits=bits)
            (right, wire), of_places = yield from together(_sign(gap, bits), masked(apart, bits))
            place = even_places - right.times(apart, of_places)
        share = torch.cat([even - right.times(gap, wire), rest], -1)
        places, first = torch.cat([place, rest_places], -1), False
    return Shared(places.squeeze(-1), 0, bits=bits)


def _neighbours(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the even and the odd places of the last dim, and what has no neighbour."""
    paired = x.shape[-1] // 2 * 2
    return x[..., 0:paired:2], x[..., 1:paired:2], x[..., paired:]


def _own(public: torch.Tensor) -> torch.Tensor:
    """Return public integers as this party's share of them."""
    return public if current().rank == 0 else torch.zeros_like(public)
