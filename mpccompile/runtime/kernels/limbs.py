"""Products modulo 2^bits out of int8 products: eight balanced digits of eight bits, and int32 sums.

The digits x_i in -128..127 of x = sum_i x_i 2^(8 i) are the bytes of (x + C) xor C with C = 0x8080808080808080: adding
128 to every digit makes it an ordinary unsigned byte, and flipping its top bit takes the 128 off again. Processors and
GPUs multiply int8 matrices at 20 to 100 times the speed of int64 ones, and a full product modulo 2^64 needs 36 of them.
"""

from __future__ import annotations

from functools import cache
from itertools import product as every
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from mpccompile.runtime.kernels.digits import Split, broadcast, chunked, rows_of, terms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

BITS = 8
_WORD_BYTES = 8
_BALANCE = 0x8080808080808080 - (1 << 64)
# Pairs of digits that one int32 sum may hold: each is at most 2^14 in size, and the carry of the level below, at most
# 2^23, is added to the sum before it is read.
_MOST_PAIRS = ((1 << 31) - (1 << 24)) >> 14
# Rows up to which all digit pairs in one call win over one call for each level: the right operand is read once instead
# of (digits + 1) / 2 times. Measured for 768 x 3072 by 16-bit values: 0.5 against 3.0 ms for 1 row, 1.0 against 2.3 ms
# for 8, 2.9 against 2.9 ms for 16.
FEW_ROWS = 8
# Results combined at a time: 2^16 int32 values are 256 KiB, so that the levels stay in the second-level cache. For
# 128 x 768 x 3072 by 16-bit values 2^15, 2^16, 2^17 and 2^18 take 9.3, 8.4, 8.9 and 9.2 ms.
_TILE = 1 << 16
_TILE_ROWS = 512
# Digit pairs held at a time for few rows: 1 MiB, or each of up to 36 passes would fetch them from memory again
# (4 x 768 x 3072 by full-width values: 3.1 against 6.7 ms).
_PAIRS_TILE = 1 << 18
_NARROWEST = 64
# cuBLAS multiplies int8 matrices whose sides are multiples of 16 and that have more than 16 rows.
_GPU_MULTIPLE = 16
_GPU_FEWEST_ROWS = 32
_HALF_LEVELS = 4


def digit_count(bits: int) -> int:
    """Return how many digits hold a value of ``bits`` bits."""
    return -(-bits // BITS)


def offset_of(known_bits: int) -> int:
    """Return what to take off values of ``known_bits`` so that ``digit_count`` balanced digits hold them.

    Balanced digits reach from -sum 128 2^(8 i) to sum 127 2^(8 i): two of them hold -32896..32639, not -32768..32767.
    Less their offset of 128 every 16-bit value fits. Only multiples of eight bits need one.
    """
    return (_BALANCE & ((1 << (known_bits - BITS)) - 1)) if known_bits % BITS == 0 and known_bits > BITS else 0


def split_of(inner: int, count: int, device: torch.device) -> Split:
    """Return how to cut the inner dimension when the operand with fewer digits has ``count`` of them."""
    multiple = _GPU_MULTIPLE if device.type == "cuda" else 1
    chunks, width = chunked(inner, _MOST_PAIRS // count // _GPU_MULTIPLE * _GPU_MULTIPLE, multiple)
    return Split(count, chunks, width)


def split(x: Tensor, how: Split, *, reverse: bool) -> Tensor:
    """Return the digits of ``x``.

    Args:
        x: int64 [..., R, K].
        how: The number of digits and the pieces of K.
        reverse: Highest digit first, as the right operand needs it.

    Returns:
        int8 [..., R, chunks, count, width], contiguous.
    """
    fill = how.chunks * how.width - x.shape[-1]
    whole = functional.pad(x, (0, fill)) if fill else x.contiguous()
    balanced = torch.add(whole, _BALANCE).bitwise_xor_(_BALANCE)
    lead = (*x.shape[:-1], how.chunks)
    octets = balanced.view(torch.int8).view(*lead, how.width, _WORD_BYTES)
    digits = torch.empty((*lead, how.count, how.width), dtype=torch.int8, device=x.device)
    for place in range(how.count):
        digits[..., how.count - 1 - place if reverse else place, :] = octets[..., place]
    return digits


def multiply(left: Tensor, right: Tensor, ring_bits: int) -> Tensor:
    """Return left @ right^T from the digits of both, exact modulo 2^ring_bits.

    Args:
        left: int8 [..., M, chunks, count, width], lowest digit first.
        right: int8 [..., N, chunks, count, width], highest digit first.
        ring_bits: The bits of the result that matter; the others are arbitrary.

    Returns:
        int64 [..., M, N].
    """
    batch = broadcast(left.shape[:-4], right.shape[:-4])
    result = torch.empty((*batch, left.shape[-4], right.shape[-4]), dtype=torch.int64, device=left.device)
    lefts, rights = left.expand(*batch, *left.shape[-4:]), right.expand(*batch, *right.shape[-4:])
    items = list(every(*map(range, batch)))
    if left.shape[-4] <= FEW_ROWS and left.shape[-3] == 1:
        for item in items:
            _few_rows(lefts[item], rights[item], ring_bits, result[item])
        return result
    for chunk in range(left.shape[-3]):
        target = torch.empty_like(result) if chunk else result
        sides = [(rows_of(lefts[item], chunk), rows_of(rights[item], chunk)) for item in items]
        _many_rows(sides, (left.shape[-2], right.shape[-2]), ring_bits, target.view(-1, *target.shape[-2:]))
        if chunk:
            result += target
    return result


def _many_rows(sides: Sequence[tuple[Tensor, Tensor]], counts: tuple[int, int], bits: int, result: Tensor) -> None:
    """Write the products of pairs of digit rows into ``result`` [B, M, N], a tile that fits the cache at a time."""
    _, rows, columns = result.shape
    plan = terms(*counts, digit_count(bits), sides[0][0].shape[-1] // counts[0])
    tall = min(rows, _TILE_ROWS)
    wide = min(columns, max(_TILE // tall // 64 * 64, 256))
    group = max(1, _TILE // (rows * columns)) if (tall, wide) == (rows, columns) else 1
    scratch = torch.empty(len(plan) * min(group, len(sides)) * tall * wide, dtype=torch.int32, device=result.device)
    tiles = every(range(0, len(sides), group), range(0, rows, tall), range(0, columns, wide))
    for item, top, first in tiles:
        target = result[item : item + group, top : top + tall, first : first + wide]
        sums = scratch[: len(plan) * target.numel()].view(len(plan), *target.shape)
        for place, (left, right) in enumerate(sides[item : item + group]):
            upper, lower = left[top : top + tall], right[first : first + wide]
            for term in plan:
                int8_product(upper[:, term.left], lower[:, term.right], sums[term.level, place])
        _combine(list(sums), target)


def _few_rows(left: Tensor, right: Tensor, bits: int, result: Tensor) -> None:
    """Write one product with few rows into ``result`` [M, N]: all digit pairs at once, the long operand read once.

    The long operand stands on the left, where the library reads it in place; on the right it would be repacked at
    every call (measured: 0.14 against 0.23 ms for 8 x 768 x 3072).
    """
    rows, _, few, width = left.shape
    columns, _, many, _ = right.shape
    plan = terms(few, many, digit_count(bits), 1)
    step = max(_PAIRS_TILE // (many * few * rows), _NARROWEST)
    for first in range(0, columns, step):
        part = right[first : first + step].reshape(-1, width)
        pairs = torch.empty((part.shape[0], rows * few), dtype=torch.int32, device=left.device)
        int8_product(part, left.view(rows * few, width), pairs)
        table = pairs.view(-1, many, rows, few).permute(1, 3, 2, 0)
        sums = []
        for term in plan:
            cells = [table[j, i] for i, j in zip(range(few)[term.left], range(many)[term.right], strict=True)]
            total = cells[0].clone(memory_format=torch.contiguous_format)
            for cell in cells[1:]:
                total += cell
            sums.append(total)
        _combine(sums, result[:, first : first + step])


def _combine(sums: Sequence[Tensor], result: Tensor) -> None:
    """Write sum_s sums[s] 2^(8 s) modulo 2^64 into ``result``; the sums are used up.

    The lower and the upper 32 bits are computed as int32 values, carry included: 2.0 ns for each result of eight
    levels, against 3.6 ns in int64, whose multiplications and additions are slow.
    """
    if len(sums) < _HALF_LEVELS:
        result.copy_(sums[-1])
        for part in reversed(sums[:-1]):
            result.bitwise_left_shift_(BITS).add_(part)
        return
    base = 1 << BITS
    low = torch.add(sums[2], sums[3], alpha=base)
    torch.add(sums[1], low, alpha=base, out=low)
    torch.add(sums[0], low, alpha=base, out=low)
    carry = sums[0].bitwise_right_shift_(BITS)
    for part in sums[1:_HALF_LEVELS]:
        carry.add_(part).bitwise_right_shift_(BITS)
    if len(sums) > _HALF_LEVELS:
        high = sums[-1]
        for part in reversed(sums[_HALF_LEVELS:-1]):
            torch.add(part, high, alpha=base, out=high)
        carry.add_(high)
    result.copy_(low)
    # The second half of each little-endian word.
    result.view(torch.int32)[..., 1::2] = carry


def int8_product(left: Tensor, right: Tensor, result: Tensor) -> None:
    """Write left [M, K] @ right [N, K]^T, int8 with int32 sums, into ``result`` [M, N]."""
    # The only public int8 products of torch are for quantized floats and round their sums. A right operand stored
    # column by column is the faster layout: 1500 against 1120 G operations a second for 128 x 6144 x 3072.
    int_mm = torch._int_mm  # noqa: SLF001
    if left.device.type == "cpu":
        int_mm(left, right.t(), out=result)
        return
    rows, columns = left.shape[0], right.shape[0]
    tall = max(_GPU_FEWEST_ROWS, -(-rows // _GPU_MULTIPLE) * _GPU_MULTIPLE)
    padded_left = functional.pad(left, (0, 0, 0, tall - rows))
    padded_right = functional.pad(right, (0, 0, 0, -columns % _GPU_MULTIPLE))
    result.copy_(int_mm(padded_left, padded_right.t())[:rows, :columns])


@cache
def is_exact(device: torch.device) -> bool:
    """Say whether int8 products are available on ``device`` and exact at the extremes of their operands.

    Processors without int8 dot products may add two products in 16 bits, which saturates at 2 x 2^14: there the method
    is not used.
    """
    pattern = torch.tensor([-128, -128, 127, -128, 127, 127, -128, -1], dtype=torch.int8, device=device)
    left, right = pattern.repeat(32, 16), pattern.repeat(16, 16).roll(1, 0)
    left[16:] = -128
    right[8:] = -128
    found = torch.empty((32, 16), dtype=torch.int32, device=device)
    try:
        int8_product(left, right, found)
    except (AttributeError, NotImplementedError, RuntimeError):
        return False
    return bool((found == left.to(torch.float64) @ right.to(torch.float64).t()).all())
