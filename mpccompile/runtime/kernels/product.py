"""Matrix products modulo a power of two: operands prepared once, and the product that picks its method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mpccompile.errors import InputError
from mpccompile.runtime.kernels import choose, float64, int64, limbs, tiles
from mpccompile.runtime.kernels.choose import WORD_BITS
from mpccompile.runtime.kernels.digits import Split, broadcast

if TYPE_CHECKING:
    from torch import Tensor

    from mpccompile.runtime.kernels.choose import Method

# Rows that a prepared operand is expected to meet: a sentence. The digit methods then serve a single row as well.
_TYPICAL_ROWS = 128
_MATRIX = 2


@dataclass(frozen=True, eq=False)
class Operand:
    """A right-hand matrix [..., K, N], split once and multiplied many times.

    Attributes:
        parts: The matrix itself, or its digits, as ``method`` needs them.
        method: The kernel that multiplies it.
        shape: The shape of the matrix.
        known_bits: The values are signed integers of so many bits; None when they are any ring elements.
        ring_bits: Products are exact modulo 2^ring_bits.
        column_sums: int64 [..., 1, N], the sum of each column; None when nothing will ask for it.
    """

    parts: Tensor
    method: Method
    shape: torch.Size
    known_bits: int | None
    ring_bits: int
    column_sums: Tensor | None

    @property
    def bits(self) -> int:
        """The bits of a value that enter a product."""
        return _bits(self.known_bits, self.ring_bits)

    @property
    def offset(self) -> int:
        """What was taken off every value before it was split."""
        return _offset(self.bits, self.ring_bits, self.method)

    @property
    def device(self) -> torch.device:
        """Where the operand lies."""
        return self.parts.device


def prepare(
    b: Tensor, known_bits: int | None = None, ring_bits: int = WORD_BITS, *, method: Method | None = None
) -> Operand:
    """Split a right-hand matrix once, for many products.

    Args:
        b: int64 [..., K, N].
        known_bits: The values are signed integers in -2^(known_bits-1)..2^(known_bits-1)-1, so that fewer digits are
            needed. Values outside give wrong products.
        ring_bits: Products are exact modulo 2^ring_bits.
        method: The kernel to use instead of the one that is fastest here.

    Raises:
        InputError: If ``b`` is no int64 matrix, or a number of bits is outside 1..64.
    """
    _check(b, known_bits, ring_bits)
    if b.device.type == "meta" or b.numel() == 0:
        method = "int64"
    if method is None:
        bits = _bits(known_bits, ring_bits)
        problem = choose.Problem(1, _TYPICAL_ROWS, b.shape[-2], b.shape[-1], ring_bits, bits, ring_bits, prepared=True)
        method = choose.choose(problem, b.device)
    return _split(b, method, known_bits, ring_bits, b.sum(-2, keepdim=True))


def matmul(
    a: Tensor,
    b: Tensor | Operand,
    *,
    ring_bits: int = WORD_BITS,
    a_known_bits: int | None = None,
    b_known_bits: int | None = None,
    method: Method | None = None,
) -> Tensor:
    """Multiply matrices exactly modulo 2^ring_bits.

    Args:
        a: int64 [..., M, K].
        b: int64 [..., K, N], or a prepared operand of that shape. Leading dimensions broadcast as in ``torch.matmul``.
        ring_bits: The bits of the result that matter.
        a_known_bits: The values of ``a`` are signed integers of so many bits.
        b_known_bits: The same of ``b``; a prepared operand knows its own.
        method: The kernel to use instead of the one that is fastest here; a prepared operand has its own.

    Returns:
        int64 [..., M, N], correct modulo 2^ring_bits. Bits above are arbitrary and may differ between methods. On the
        ``meta`` device an empty tensor of the right shape.

    Raises:
        InputError: If an operand is no int64 matrix, the shapes do not fit, a number of bits is outside 1..64, or a
            prepared operand was prepared for a smaller ring.
    """
    _check(a, a_known_bits, ring_bits)
    shape = _product_shape(a, b)
    if isinstance(b, Operand):
        _check_prepared(b, b_known_bits, ring_bits)
    else:
        _check(b, b_known_bits, ring_bits)
    if a.device.type == "meta" or 0 in shape or a.shape[-1] == 0:
        return torch.zeros(shape, dtype=torch.int64, device=a.device)
    # One matrix for all rows: a single product.
    left = a.reshape(-1, a.shape[-1]) if len(b.shape) == _MATRIX else a
    bits = _bits(a_known_bits, ring_bits), _bits(b_known_bits, ring_bits), ring_bits
    if not isinstance(b, Operand):
        rows, inner = left.shape[-2:]
        count = 1 if len(b.shape) == _MATRIX else torch.Size(shape[:-2]).numel()
        method = method or choose.choose(choose.Problem(count, rows, inner, shape[-1], *bits), a.device)
        sums = b.sum(-2, keepdim=True) if _offset(bits[0], ring_bits, method) else None
        b = _split(b, method, b_known_bits, ring_bits, sums)
    return _multiply(left, b, bits[0], ring_bits).view(shape)


def _product_shape(a: Tensor, b: Tensor | Operand) -> tuple[int, ...]:
    """Return the shape of a @ b, or refuse matrices that do not fit."""
    if len(b.shape) < _MATRIX or a.shape[-1] != b.shape[-2]:
        raise InputError(f"matrices of shapes {tuple(a.shape)} and {tuple(b.shape)} cannot be multiplied")
    return (*broadcast(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])


def _bits(known_bits: int | None, ring_bits: int) -> int:
    """Return how many bits of a value enter a product."""
    return ring_bits if known_bits is None else min(known_bits, ring_bits)


def _offset(bits: int, ring_bits: int, method: Method) -> int:
    """Return what int8 digits take off values of ``bits`` bits; ring elements wrap and need nothing."""
    return limbs.offset_of(bits) if method == "limbs" and bits < ring_bits else 0


def _check(x: Tensor, known_bits: int | None, ring_bits: int) -> None:
    """Refuse what is no int64 matrix, and bits that no word has."""
    if x.dtype != torch.int64 or x.dim() < _MATRIX:
        raise InputError(f"a product takes int64 matrices, not {x.dtype} of shape {tuple(x.shape)}")
    for bits in (ring_bits, known_bits):
        if bits is not None and not 1 <= bits <= WORD_BITS:
            raise InputError(f"{bits} bits are not between 1 and {WORD_BITS}")


def _check_prepared(b: Operand, known_bits: int | None, ring_bits: int) -> None:
    """Refuse a prepared operand whose digits do not serve the product."""
    if known_bits not in {None, b.known_bits}:
        raise InputError(f"the operand was prepared for values of {b.known_bits} bits, not {known_bits}")
    if ring_bits > b.ring_bits and b.bits == b.ring_bits:
        raise InputError(f"the operand was prepared modulo 2^{b.ring_bits}, not 2^{ring_bits}")


def _split(b: Tensor, method: Method, known_bits: int | None, ring_bits: int, sums: Tensor | None) -> Operand:
    """Return ``b`` as the kernel of ``method`` needs it."""
    bits = _bits(known_bits, ring_bits)
    parts, offset = b, _offset(bits, ring_bits, method)
    if method == "float64":
        cut = float64.split_of(b.shape[-2], float64.digit_count(bits), bits)
        parts = float64.split(b.mT, cut, bits, reverse=True)
    elif method == "limbs":
        cut = limbs.split_of(b.shape[-2], limbs.digit_count(bits), b.device)
        parts = limbs.split((b - offset if offset else b).mT, cut, reverse=True)
    elif method == "tiles":
        parts = tiles.pack_right(b, tiles.digit_count(bits))
    return Operand(parts, method, b.shape, known_bits, ring_bits, sums)


def _multiply(left: Tensor, right: Operand, left_bits: int, ring_bits: int) -> Tensor:
    """Multiply with the kernel of ``right``.

    With left = L + p and right = R + q, where p and q are the offsets of int8 digits, the product is
    L @ R + rowsum(L) q + p columnsum(right).
    """
    if right.method == "int64":
        return int64.multiply(left, right.parts)
    if right.method == "tiles":
        digits = tiles.digit_count(left_bits), tiles.digit_count(right.bits)
        signed = left_bits < ring_bits, right.bits < right.ring_bits
        return tiles.multiply(left, right.parts, right.shape[-1], digits, signed, ring_bits)
    chunks, _, width = right.parts.shape[-3:]
    if right.method == "float64":
        cut = Split(float64.digit_count(left_bits), chunks, width)
        return float64.multiply(float64.split(left, cut, left_bits, reverse=False), right.parts, ring_bits)
    p, q = _offset(left_bits, ring_bits, right.method), right.offset
    lowered = left - p if p else left
    cut = Split(limbs.digit_count(left_bits), chunks, width)
    product = limbs.multiply(limbs.split(lowered, cut, reverse=False), right.parts, ring_bits)
    if q:
        product += lowered.sum(-1, keepdim=True) * q
    if p and right.column_sums is not None:
        product += p * right.column_sums
    return product
