"""Arithmetic in the ring Z_2^bits on int64 tensors: fixed point, matrix products and packed messages.

A ring element is an int64 word read modulo 2^64, or modulo a smaller power of two. The addition and multiplication of
int64 tensors wrap around, which is the ring's own; matrix products are in ``mpccompile.runtime.kernels``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mpccompile.errors import InputError
from mpccompile.runtime.kernels.packing import pack, packed_bytes, unpack
from mpccompile.runtime.kernels.product import Operand, matmul, prepare

__all__ = [
    "WORD_BITS",
    "Operand",
    "decode",
    "encode",
    "logical_shift_right",
    "matmul",
    "msb",
    "pack",
    "packed_bytes",
    "prepare",
    "reduce",
    "sign_extend",
    "unpack",
]

WORD_BITS = 64


def encode(x: Tensor, frac_bits: int) -> Tensor:
    """Write real numbers as fixed point: the integers nearest to x 2^frac_bits, ties to even.

    Args:
        x: Numbers of any shape and dtype.
        frac_bits: Fractional bits.

    Returns:
        int64 of the same shape.

    Raises:
        InputError: If a number is not finite, or not below 2^(63 - frac_bits) in size.
    """
    scaled = (x.detach().to(torch.float64) * 2.0**frac_bits).round_()
    # One comparison refuses NaN as well: it is not below anything.
    if x.device.type != "meta" and not bool((scaled.abs() < 2.0 ** (WORD_BITS - 1)).all()):
        raise InputError(
            f"a value is not a finite number below 2^{WORD_BITS - 1 - frac_bits} in size",
            hint=f"Fixed point with {frac_bits} fractional bits holds no other.",
        )
    return scaled.to(torch.int64)


def decode(r: Tensor, frac_bits: int) -> Tensor:
    """Read fixed point as float32 of the same shape; ``r`` is int64, read as signed."""
    return (r.to(torch.float64) * 2.0**-frac_bits).to(torch.float32)


def reduce(x: Tensor, bits: int) -> Tensor:
    """Return ``x`` modulo 2^bits: not negative for fewer than 64 bits, ``x`` itself for 64."""
    return x if bits == WORD_BITS else x & ((1 << bits) - 1)


def sign_extend(x: Tensor, bits: int) -> Tensor:
    """Return the number in -2^(bits-1)..2^(bits-1)-1 that is ``x`` modulo 2^bits."""
    return x if bits == WORD_BITS else (x << (WORD_BITS - bits)).bitwise_right_shift_(WORD_BITS - bits)


def logical_shift_right(x: Tensor, bits: int) -> Tensor:
    """Shift words, read as unsigned, right by 0 to 63 bits: zeros come in, not copies of the sign."""
    return x if bits == 0 else (x >> bits).bitwise_and_((1 << (WORD_BITS - bits)) - 1)


def msb(x: Tensor) -> Tensor:
    """Return the top bit of every word, 0 or 1."""
    return logical_shift_right(x, WORD_BITS - 1)
