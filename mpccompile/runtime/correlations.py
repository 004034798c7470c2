"""The kinds of correlated randomness: what the dealer computes from masks only it knows whole.

Three classes. *Fresh* kinds are uniform and travel as nothing: each party expands its share from a seed it has in
common with the dealer. *Local* kinds are linear in masks already dealt, so each party applies them to its share.
*Dealt* kinds are functions of masks: rank 0 expands a share from its seed, and the dealer sends rank 1 the difference,
packed to the width that the protocol needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mpccompile.runtime import ring
from mpccompile.runtime.views import view

if TYPE_CHECKING:
    from mpccompile.runtime.plan import Step

WORD_BITS = 64
FRESH = frozenset({"mask", "client_mask", "xor_mask"})
LOCAL = frozenset({"view"})
NARROW = frozenset({"falling"})
"""Kinds whose shares are int32 words modulo 2^32."""
NARROW_BITS = 32
XOR_SHARED = frozenset({"xor_mask", "xor_of", "and"})


@dataclass(frozen=True)
class Dealt:
    """One value as the dealer holds it: both shares, and the secret itself."""

    share0: Tensor
    share1: Tensor
    total: Tensor


def is_dealt(step: Step) -> bool:
    """Say whether the dealer has to send a correction for this step."""
    return step.kind not in FRESH and step.kind not in LOCAL


def width_bits(step: Step) -> int:
    """Return how many low bits of each element the protocol uses, and so how many travel."""
    return _WIDTHS[step.kind](*step.params) if step.kind in _WIDTHS else WORD_BITS


def correction_bytes(step: Step) -> int:
    """Return the bytes the dealer sends to rank 1 for this step."""
    return -(-math.prod(step.shape) * width_bits(step) // 8) if is_dealt(step) else 0


def secret_value(step: Step, sources: list[Dealt]) -> Tensor:
    """Compute the secret of a dealt step from the masks it depends on (static products excepted)."""
    return _VALUES[step.kind](*(source.total for source in sources), *step.params)


def apply_local(step: Step, share: Tensor) -> Tensor:
    """Apply a local step to a share (or to the whole mask, which is the same map)."""
    name, *params = step.params
    return view(name, share, params)


def _shift(mask: Tensor, bits: int, drop: int) -> Tensor:
    return ring.logical_shift_right(ring.reduce(mask, bits), drop)


def _top_bit(mask: Tensor, bits: int, _width: int) -> Tensor:
    return ring.logical_shift_right(mask, bits - 1) & 1


CHUNK = 1 << 14
"""Elements computed at a time, so that temporaries stay in the second-level cache."""


def _trigonometry(mask: Tensor, period_bits: int, harmonics: int, scale_bits: int) -> Tensor:
    """Return cos(k w m) for k = 1..harmonics, then the sines, of w = 2 pi / 2^period_bits, in fixed point.

    The harmonics come from the three-term recurrence in float64, which keeps 38 bits after 100 of them.
    """
    out = torch.empty((2 * harmonics, mask.numel()), dtype=torch.int64, device=mask.device)
    angle = ring.reduce(mask, period_bits).reshape(-1).to(torch.float64) * (2 * math.pi / (1 << period_bits))
    size = CHUNK if mask.device.type == "cpu" else max(1, mask.numel())
    for start in range(0, mask.numel(), size):
        _waves(angle[start : start + size], out[:, start : start + size], float(1 << scale_bits))
    return out.reshape(2 * harmonics, *mask.shape)


def _waves(angle: Tensor, out: Tensor, unit: float) -> None:
    harmonics = out.shape[0] // 2
    cosine, sine = torch.cos(angle), torch.sin(angle)
    double = 2 * cosine
    before_cosine, before_sine = torch.ones_like(cosine), torch.zeros_like(sine)
    for index in range(harmonics):
        out[index] = (cosine * unit).round_()
        out[harmonics + index] = (sine * unit).round_()
        before_cosine, cosine = cosine, torch.addcmul(-before_cosine, double, cosine)
        before_sine, sine = sine, torch.addcmul(-before_sine, double, sine)


def _falling(mask: Tensor, bits: int, drop: int, degree: int) -> Tensor:
    """Return C(degree, i) (-m)(-m - 1) ... (-m - i + 1) for i = 1..degree, m the mask's bits above ``drop``."""
    negative = -_shift(mask, bits, drop).to(torch.int32)
    out = torch.empty((degree, *mask.shape), dtype=torch.int32, device=mask.device)
    factorial = torch.ones_like(negative)
    for index in range(degree):
        factorial = factorial * (negative - index)
        torch.mul(factorial, math.comb(degree, index + 1), out=out[index])
    return out


def _odd(shape_of: Tensor) -> Tensor:
    return shape_of | 1


_VALUES: dict[str, Callable[..., Tensor]] = {
    "mul": lambda a, b: a * b,
    "matmul": ring.matmul,
    "sum_square": lambda a: (a * a).sum(-1, keepdim=True),
    "shift": _shift,
    "top_bit": _top_bit,
    "trigonometry": _trigonometry,
    "falling": _falling,
    "odd": _odd,
    "xor_of": ring.reduce,
    "and": lambda a, b, _bits: a & b,
    "bit_of": lambda a, _bits: a & 1,
}

_WIDTHS: dict[str, Callable[..., int]] = {
    "top_bit": lambda _bits, width: width,
    "falling": lambda _bits, _drop, _degree: NARROW_BITS,
    "xor_of": lambda bits: bits,
    "and": lambda bits: bits,
    "bit_of": lambda width: width,
}


def combine(step: Step, share0: Tensor, share1: Tensor) -> Tensor:
    """Return the secret from its two shares."""
    return share0 ^ share1 if step.kind in XOR_SHARED else share0 + share1


def packed(step: Step, share: Tensor) -> Tensor:
    """Return a share as the bytes that travel."""
    if step.kind in NARROW:
        return share.contiguous().reshape(-1).view(torch.uint8)
    return ring.pack(share, width_bits(step))


def unpacked(step: Step, message: Tensor) -> Tensor:
    """Return the share that :func:`packed` wrote."""
    if step.kind in NARROW:
        return message.view(torch.int32).reshape(step.shape)
    return ring.unpack(message, width_bits(step), step.shape)


def split(step: Step, value: Tensor, share0: Tensor) -> Tensor:
    """Return rank 1's share of ``value`` given rank 0's, at full width."""
    return value ^ share0 if step.kind in XOR_SHARED else value - share0
