"""Falling factorials of masks, and the words of a range test that are made of them.

Falling factorials of sums expand as powers do (Vandermonde): (h - m)_D = sum_i C(D, i) (h)_(D-i) (-m)_i, where (x)_i is
x (x - 1) ... (x - i + 1). The dealer shares C(D, i) (-m)_i, so an element takes 2 D multiplications, of 32 bits: what a
truncation to 48 leaves above a window of 2^16, at half the time and memory of 64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mpccompile.runtime.kernels import compiled
from mpccompile.runtime.kernels.blocks import blocks

WORD_BITS = 32
"""Words are added, multiplied and shared modulo 2^32."""


@dataclass(frozen=True)
class Window:
    """What a value is tested for: low <= x < low + (degree - 1) 2^window_bits.

    Attributes:
        low: Lower end in ring units.
        bits: Width of the ring the value was opened in.
        window_bits: log2 of a window in ring units.
        degree: Factors of the polynomial, one more than windows.
    """

    low: int
    bits: int
    window_bits: int
    degree: int

    @property
    def word_bits(self) -> int:
        """Low bits of a word that count."""
        return min(self.bits - self.window_bits, WORD_BITS)


def other_share(masks: Tensor, shares: Tensor, bits: int, drop: int, degree: int) -> None:
    """Replace one party's shares of C(degree, i) (-m)_i, i = 1..degree, by the other party's.

    Args:
        masks: int64; m is a mask's bits from ``drop`` to ``bits``.
        shares: int32, a table in blocks with ``degree`` rows.
        bits: Width of the ring.
        drop: log2 of a window.
        degree: Factors of the polynomial.
    """
    factors = [math.comb(degree, index + 1) for index in range(degree)]
    if compiled.serves(masks):
        compiled.falling(masks.contiguous(), shares, bits, drop, factors)
        return
    negative = -_high(masks.reshape(-1), bits, drop)
    for part, rows in blocks(shares, degree):
        base = negative[part].view(rows.shape[1:])
        factorial = torch.ones_like(base)
        for index, factor in enumerate(factors):
            factorial = factorial * (base - index)
            torch.sub(factorial * factor, rows[index], out=rows[index])


def range_words(opened: Tensor, table: Tensor, window: Window, coins: Tensor, only: Tensor | None, rank: int) -> Tensor:
    """Return the sums, modulo 2^64, of this party's words of (h - m)_degree, each word times a coin.

    A word is the integer below 2^word_bits that the share is, at rank 1 that of its negative: the same one at both
    parties if the polynomial is zero. The two coins of an element are the halves of a random word, made odd.

    Args:
        opened: int64, the opened values; h is their bits from ``window_bits`` to ``bits``, less ``low``.
        table: int32, this party's shares of the falling factorials of the masks, in blocks.
        window: What is tested.
        coins: int64, a public random word an element.
        only: bool of the same shape, or None; where False, nothing is tested.
        rank: 0 or 1.

    Returns:
        int64 [2].
    """
    if compiled.serves(opened):
        tested = (window.low, window.bits, window.window_bits, window.degree)
        return compiled.range_words(opened, table, tested, coins, only, rank)
    high = _high(opened.reshape(-1) - window.low, window.bits, window.window_bits)
    words = torch.empty(high.shape, dtype=torch.int64, device=high.device)
    for part, rows in blocks(table, window.degree):
        share = _share(high[part].view(rows.shape[1:]), rows, rank)
        words[part] = (share if rank == 0 else -share).reshape(-1).to(torch.int64)
    words &= (1 << window.word_bits) - 1
    if only is not None:
        words *= only.reshape(-1)
    low, upper = coins.reshape(-1) & 0xFFFFFFFF, (coins.reshape(-1) >> WORD_BITS) & 0xFFFFFFFF
    return torch.stack([(words * (low | 1)).sum(), (words * (upper | 1)).sum()])


def _share(high: Tensor, rows: Tensor, rank: int) -> Tensor:
    degree = rows.shape[0]
    product, share = torch.ones_like(high), rows[degree - 1].clone()
    for index in range(degree - 1):
        product = product * (high - index)
        share.add_(product * rows[degree - 2 - index])
    return share + product * (high - (degree - 1)) if rank == 0 else share


def _high(x: Tensor, bits: int, drop: int) -> Tensor:
    """Return the bits of words from ``drop`` to ``bits``, as int32."""
    return ((x >> drop) & ((1 << (bits - drop)) - 1)).to(torch.int32)
