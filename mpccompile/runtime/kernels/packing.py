"""Bit-packed messages: values of any width from 1 to 64 bits, one after the other, lowest bit first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from mpccompile.errors import InputError
from mpccompile.runtime.kernels import compiled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_WORD_BITS = 64
_BYTE_BITS = 8
_WORD_BYTES = 8
_NARROW = {8: torch.uint8, 16: torch.int16, 32: torch.int32}
# A word of eight bytes that are 0 or 1, times this, has their bits, the first byte lowest, in its top byte.
_GATHER_BITS = 0x0102040810204080
# A byte times the first has copies of it in all eight bytes; the second keeps bit i of copy i.
_COPY_BYTE = 0x0101010101010101
_KEEP_BITS = 0x8040201008040201 - (1 << _WORD_BITS)


def packed_bytes(count: int, bits: int) -> int:
    """Return the bytes that ``count`` values of ``bits`` bits take."""
    return -(-count * bits // _BYTE_BITS)


def pack(x: Tensor, bits: int) -> Tensor:
    """Write the low ``bits`` bits of every value, one after the other, lowest bit first.

    Args:
        x: int64 of any shape.
        bits: 1 to 64.

    Returns:
        uint8 [ceil(n * bits / 8)]; bits after the last value are zero. For 64 bits it may share the memory of ``x``.

    Raises:
        InputError: If ``bits`` is outside 1..64.
    """
    _check(bits)
    flat = x.reshape(-1).contiguous()
    if bits == 1:
        packed = _pack_single_bits(flat)
    elif bits % _BYTE_BITS == 0:
        packed = _pack_bytes(flat, bits)
    else:
        packed = _pack_pairs(flat & ((1 << bits) - 1), bits)
    return packed[: packed_bytes(flat.numel(), bits)]


def unpack(buf: Tensor, bits: int, shape: Sequence[int]) -> Tensor:
    """Read what ``pack`` wrote.

    Args:
        buf: uint8 [ceil(n * bits / 8)], at any alignment.
        bits: 1 to 64.
        shape: The shape of the n values.

    Returns:
        int64 of ``shape``, in 0..2^bits-1; for 64 bits the very words. A new tensor.

    Raises:
        InputError: If ``bits`` is outside 1..64 or the buffer has another length.
    """
    _check(bits)
    size = torch.Size(shape)
    expected = packed_bytes(size.numel(), bits)
    if buf.numel() != expected:
        raise InputError(f"{buf.numel()} bytes are not the {expected} of {size.numel()} values of {bits} bits")
    if bits == 1:
        return _unpack_single_bits(buf)[: size.numel()].view(size)
    if bits % _BYTE_BITS == 0:
        return _unpack_bytes(buf, bits).view(size)
    return _unpack_pairs(buf, bits, size.numel()).view(size)


def _check(bits: int) -> None:
    """Refuse a width that no word has."""
    if not 1 <= bits <= _WORD_BITS:
        raise InputError(f"{bits} bits are not between 1 and {_WORD_BITS}")


def _pack_single_bits(flat: Tensor) -> Tensor:
    """Return one bit of each value, eight to a byte."""
    ones = flat.to(torch.uint8).bitwise_and_(1)
    groups = functional.pad(ones, (0, -ones.numel() % _WORD_BYTES)).view(torch.int64)
    return ((groups * _GATHER_BITS) >> (_WORD_BITS - _BYTE_BITS)).to(torch.uint8)


def _unpack_single_bits(buf: Tensor) -> Tensor:
    """Return eight values, 0 or 1, for each byte."""
    copies = (buf.to(torch.int64) * _COPY_BYTE).bitwise_and_(_KEEP_BITS)
    return copies.view(torch.uint8).ne(0).to(torch.int64)


def _pack_bytes(flat: Tensor, bits: int) -> Tensor:
    """Return the low bytes of each value."""
    if bits == _WORD_BITS:
        return flat.view(torch.uint8)
    if compiled.serves(flat):
        return compiled.pack(flat, None, 0, bits)
    if bits in _NARROW:
        return flat.to(_NARROW[bits]).view(torch.uint8)
    return flat.view(torch.uint8).view(-1, _WORD_BYTES)[:, : bits // _BYTE_BITS].reshape(-1)


def _unpack_bytes(buf: Tensor, bits: int) -> Tensor:
    """Return the values of whole bytes."""
    if compiled.serves(buf):
        return compiled.combine(buf, None, bits, (buf.numel() * _BYTE_BITS // bits,))
    width = bits // _BYTE_BITS
    values = torch.zeros(buf.numel() // width, dtype=torch.int64, device=buf.device)
    values.view(torch.uint8).view(-1, _WORD_BYTES)[:, :width] = buf.view(-1, width)
    return values


def _pack_pairs(flat: Tensor, bits: int) -> Tensor:
    """Return values below 2^bits as bytes, and perhaps zeros after them; two are one value of twice the width.

    Two values of 20 bits are five bytes: 2.4 GB of int64 a second, against 0.8 when each is shifted into its word.
    """
    if bits % _BYTE_BITS == 0:
        return _pack_bytes(flat, bits)
    if 2 * bits > _WORD_BITS:
        return _pack_words(flat, bits)
    pairs = functional.pad(flat, (0, flat.numel() % 2)).view(-1, 2)
    return _pack_pairs((pairs[:, 1] << bits).bitwise_or_(pairs[:, 0]), 2 * bits)


def _unpack_pairs(buf: Tensor, bits: int, count: int) -> Tensor:
    """Return the ``count`` values that ``_pack_pairs`` wrote into ``buf``, which may lack the zeros at its end."""
    if bits % _BYTE_BITS == 0:
        return _unpack_bytes(functional.pad(buf, (0, packed_bytes(count, bits) - buf.numel())), bits)
    if 2 * bits > _WORD_BITS:
        return _unpack_words(buf, bits, count)
    pairs = _unpack_pairs(buf, 2 * bits, -(-count // 2))
    values = torch.empty((pairs.numel(), 2), dtype=torch.int64, device=buf.device)
    torch.bitwise_and(pairs, (1 << bits) - 1, out=values[:, 0])
    torch.bitwise_right_shift(pairs, bits, out=values[:, 1])
    return values.view(-1)[:count]


def _layout(bits: int) -> tuple[int, int]:
    """Return the least number of values that fill whole words, and the number of those words."""
    common = math.gcd(bits, _WORD_BITS)
    return _WORD_BITS // common, bits // common


def _pack_words(flat: Tensor, bits: int) -> Tensor:
    """Return values below 2^bits as bytes, filled with zeros to whole words: place by place in a group of values."""
    group, words = _layout(bits)
    values = functional.pad(flat, (0, -flat.numel() % group)).view(-1, group).t().contiguous()
    packed = torch.zeros((words, values.shape[1]), dtype=torch.int64, device=flat.device)
    for i in range(group):
        word, shift = divmod(i * bits, _WORD_BITS)
        packed[word] |= values[i] << shift
        if shift + bits > _WORD_BITS:
            packed[word + 1] |= values[i] >> (_WORD_BITS - shift)
    return packed.t().reshape(-1).contiguous().view(torch.uint8)


def _unpack_words(buf: Tensor, bits: int, count: int) -> Tensor:
    """Return ``count`` values from the bytes of whole words."""
    group, words = _layout(bits)
    groups = -(-count // group)
    stream = torch.zeros(groups * words, dtype=torch.int64, device=buf.device)
    stream.view(torch.uint8)[: buf.numel()] = buf
    packed = stream.view(groups, words).t().contiguous()
    values = torch.empty((group, groups), dtype=torch.int64, device=buf.device)
    for i in range(group):
        word, shift = divmod(i * bits, _WORD_BITS)
        part = packed[word] >> shift
        if shift + bits > _WORD_BITS:
            # The shift before copied the sign into the places of the next word.
            part &= (1 << (_WORD_BITS - shift)) - 1
            part |= packed[word + 1] << (_WORD_BITS - shift)
        torch.bitwise_and(part, (1 << bits) - 1, out=values[i])
    return values.t().reshape(-1)[:count]
