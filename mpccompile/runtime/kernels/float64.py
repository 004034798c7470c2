"""Products modulo 2^bits out of float64 products: balanced digits of 22 bits, whose sums stay below 2^53.

Three digits hold a word, so that a full product modulo 2^64 is six float64 products; each sum is exact as long as it
has at most 2^53 / 2^42 = 2048 terms, and longer ones are cut. It is the method where int8 products are missing.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from mpccompile.runtime.kernels.digits import Split, broadcast, chunked, rows_of, terms

BITS = 22
_EXACT_BITS = 53
_WORD_BITS = 64


def digit_count(bits: int) -> int:
    """Return how many digits hold a value of ``bits`` bits."""
    return -(-bits // BITS)


def split_of(inner: int, count: int, bits: int) -> Split:
    """Return how to cut the inner dimension.

    Args:
        inner: Its length.
        count: Digits of the operand.
        bits: Bits of the operand; the other one may have digits of full size.
    """
    pairs = 1 << (_EXACT_BITS - (BITS - 1) - (min(bits, BITS) - 1))
    chunks, width = chunked(inner, max(1, pairs // count), 1)
    return Split(count, chunks, width)


def split(x: torch.Tensor, how: Split, bits: int, *, reverse: bool) -> torch.Tensor:
    """Return the digits of ``x``.

    Args:
        x: int64 [..., R, K].
        how: The number of digits and the pieces of K.
        bits: The low bits of ``x`` that matter, read as a signed number.
        reverse: Highest digit first, as the right operand needs it.

    Returns:
        float64 [..., R, chunks, count, width], contiguous; no digit is larger than 2^21.
    """
    padded = functional.pad(x, (0, how.chunks * how.width - x.shape[-1])).contiguous()
    rest = padded.view(*x.shape[:-1], how.chunks, how.width)
    rest = (rest << (_WORD_BITS - bits)) >> (_WORD_BITS - bits)
    digits = torch.empty((*rest.shape[:-1], how.count, how.width), dtype=torch.float64, device=x.device)
    for place in range(how.count):
        last = place == how.count - 1
        digit = rest if last else (rest << (_WORD_BITS - BITS)) >> (_WORD_BITS - BITS)
        digits[..., how.count - 1 - place if reverse else place, :] = digit
        rest = (rest - digit) >> BITS
    return digits


def multiply(left: torch.Tensor, right: torch.Tensor, ring_bits: int) -> torch.Tensor:
    """Return left @ right^T from the digits of both, exact modulo 2^ring_bits.

    Args:
        left: float64 [..., M, chunks, count, width], lowest digit first.
        right: float64 [..., N, chunks, count, width], highest digit first.
        ring_bits: The bits of the result that matter; the others are arbitrary.

    Returns:
        int64 [..., M, N].
    """
    plan = terms(left.shape[-2], right.shape[-2], digit_count(ring_bits), left.shape[-1])
    batch = broadcast(left.shape[:-4], right.shape[:-4])
    result = torch.zeros((*batch, left.shape[-4], right.shape[-4]), dtype=torch.int64, device=left.device)
    for chunk in range(left.shape[-3]):
        rows, columns = rows_of(left, chunk), rows_of(right, chunk)
        for term in plan:
            part = torch.matmul(rows[..., term.left], columns[..., term.right].mT)
            result += part.to(torch.int64) << (BITS * term.level)
    return result
