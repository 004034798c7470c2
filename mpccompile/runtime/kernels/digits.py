"""What the two digit methods share: how a product of numbers becomes products of their digits.

With x = sum_i x_i 2^(w i) and y = sum_j y_j 2^(w j), the product modulo 2^bits is sum_s 2^(w s) sum_{i+j=s} x_i y_j,
where the levels s with w s >= bits vanish. The digits of one row lie one after the other, those of the right operand
in reverse order, so that every inner sum over i + j = s is one ordinary matrix product of two slices.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from mpccompile.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


@dataclass(frozen=True)
class Split:
    """How the inner dimension of a product is cut, so that no sum of digit products leaves its exact range.

    Attributes:
        count: Digits of each value.
        chunks: Pieces of the inner dimension.
        width: Values in each piece; the last piece is filled with zeros.
    """

    count: int
    chunks: int
    width: int


@dataclass(frozen=True)
class Term:
    """One inner sum of so many digit pairs: the left columns and the right columns whose product it is."""

    level: int
    pairs: int
    left: slice
    right: slice


def chunked(inner: int, longest: int, multiple: int) -> tuple[int, int]:
    """Cut ``inner`` values into the fewest equal pieces of at most ``longest``; each a multiple of ``multiple``.

    Returns:
        The number of pieces and the width of each. One piece is as wide as ``inner``, rounded up.
    """
    chunks = -(-inner // longest)
    width = -(-inner // chunks)
    return chunks, -(-width // multiple) * multiple


def terms(left: int, right: int, levels: int, width: int) -> list[Term]:
    """Return the inner sums of a product of ``left`` by ``right`` digits, lowest level first."""
    found = []
    for level in range(min(levels, left + right - 1)):
        first, last = max(0, level - right + 1), min(level, left - 1)
        start = right - 1 - level + first
        found.append(
            Term(
                level,
                last - first + 1,
                slice(first * width, (last + 1) * width),
                slice(start * width, (start + last - first + 1) * width),
            )
        )
    return found


def rows_of(digits: Tensor, chunk: int) -> Tensor:
    """Return one chunk of ``digits`` [..., R, chunks, count, width] as matrices [..., R, count * width]."""
    return digits[..., chunk, :, :].flatten(-2)


def broadcast(left: Sequence[int], right: Sequence[int]) -> tuple[int, ...]:
    """Return the leading dimensions of a product, from those of its operands.

    Raises:
        InputError: If a pair of dimensions differs and neither is 1.
    """
    pairs = list(zip_longest(reversed(left), reversed(right), fillvalue=1))
    if any(x != y and 1 not in {x, y} for x, y in pairs):
        raise InputError(f"leading dimensions {tuple(left)} and {tuple(right)} do not broadcast")
    return tuple(y if x == 1 else x for x, y in reversed(pairs))
