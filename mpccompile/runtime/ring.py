"""Arithmetic in the ring Z_2^bits on int64 tensors: products, fixed point and bit-packed messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mpccompile.errors import InputError


@dataclass(frozen=True)
class Operand:
    """A right-hand matrix prepared once and multiplied many times."""

    matrix: Tensor
    known_bits: int | None = None
    ring_bits: int = 64

    @property
    def shape(self) -> torch.Size:
        return self.matrix.shape


def prepare(b: Tensor, known_bits: int | None = None, ring_bits: int = 64) -> Operand:
    """Prepare the right-hand matrix ``b`` of shape [..., K, N] for repeated products."""
    return Operand(b, known_bits, ring_bits)


def matmul(
    a: Tensor,
    b: Tensor | Operand,
    *,
    ring_bits: int = 64,
    a_known_bits: int | None = None,
    b_known_bits: int | None = None,
) -> Tensor:
    """Multiply [..., M, K] by [..., K, N] modulo 2^ring_bits; upper bits are unspecified."""
    return torch.matmul(a, b.matrix if isinstance(b, Operand) else b)


def encode(x: Tensor, frac_bits: int) -> Tensor:
    """Return ``x`` as fixed point with ``frac_bits`` fractional bits, rounded to nearest.

    Raises:
        InputError: If a value is not finite or does not fit the ring.
    """
    scaled = torch.round(x.detach().to(torch.float64) * 2.0**frac_bits)
    if scaled.device.type != "meta" and not bool((scaled.abs() < 2.0**63).all()):
        raise InputError(f"a value is not finite or not below 2^{63 - frac_bits} in size")
    return scaled.to(torch.int64)


def decode(r: Tensor, frac_bits: int) -> Tensor:
    """Return the float32 values that the fixed-point ``r`` stands for."""
    return (r.to(torch.float64) * 2.0**-frac_bits).to(torch.float32)


def reduce(x: Tensor, bits: int) -> Tensor:
    """Return ``x`` mod 2^bits, non-negative for bits < 64."""
    return x if bits == 64 else x & ((1 << bits) - 1)


def sign_extend(x: Tensor, bits: int) -> Tensor:
    """Return the signed representative of ``x`` mod 2^bits."""
    return x if bits == 64 else (x << (64 - bits)) >> (64 - bits)


def logical_shift_right(x: Tensor, bits: int) -> Tensor:
    """Shift ``x``, seen as unsigned, right by ``bits`` in 0..63."""
    return x if bits == 0 else (x >> bits) & ((1 << (64 - bits)) - 1)


def msb(x: Tensor) -> Tensor:
    """Return the top bit of each 64-bit word as 0 or 1."""
    return (x >> 63) & 1


def pack(x: Tensor, bits: int) -> Tensor:
    """Return the low ``bits`` of every value of ``x`` as ceil(n*bits/8) bytes."""
    flat = x.reshape(-1).contiguous()
    count = flat.numel()
    if bits == 64:
        return flat.view(torch.uint8)
    places = torch.arange(bits, device=x.device)
    stream = ((flat[:, None] >> places) & 1).reshape(-1)
    stream = torch.nn.functional.pad(stream, (0, -stream.numel() % 8)).view(-1, 8)
    packed = (stream << torch.arange(8, device=x.device)).sum(1).to(torch.uint8)
    return packed[: (count * bits + 7) // 8]


def unpack(buf: Tensor, bits: int, shape: Sequence[int]) -> Tensor:
    """Return the values that ``pack`` wrote, in 0..2^bits-1, as int64 of ``shape``."""
    size = torch.Size(shape)
    if bits == 64:
        return buf.contiguous().clone().view(torch.int64).view(size)
    stream = ((buf[:, None].to(torch.int64) >> torch.arange(8, device=buf.device)) & 1).reshape(-1)
    stream = stream[: size.numel() * bits].view(-1, bits)
    return (stream << torch.arange(bits, device=buf.device)).sum(1).view(size)
