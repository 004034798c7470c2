"""The kinds of correlated randomness: what the dealer computes from masks only it knows whole.

Three classes. *Fresh* kinds are uniform and travel as nothing: each party expands its share from a seed it has in
common with the dealer. *Local* kinds are linear in masks already dealt, so each party applies them to its share.
*Dealt* kinds are functions of masks: rank 0 expands a share from its seed, and the dealer sends rank 1 the difference,
packed to the width that the protocol needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mpccompile.runtime import ring
from mpccompile.runtime.kernels import falling, waves
from mpccompile.runtime.views import view

if TYPE_CHECKING:
    from mpccompile.runtime.plan import Step

WORD_BITS = 64
FRESH = frozenset({"mask", "client_mask", "xor_mask", "row_mask"})
LOCAL = frozenset({"view", "concat"})
NARROW = frozenset({"falling"})
"""Kinds whose shares are int32 words modulo 2^32."""
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


def apply_local(step: Step, shares: Sequence[Tensor]) -> Tensor:
    """Apply a local step to shares of masks (or to the whole masks, which is the same map)."""
    if step.kind == "concat":
        return torch.cat(list(shares), *step.params)
    name, *params = step.params
    return view(name, shares[0], params)


def _shift(mask: Tensor, bits: int, drop: int) -> Tensor:
    return ring.logical_shift_right(ring.reduce(mask, bits), drop)


def _top_bit(mask: Tensor, bits: int, _width: int) -> Tensor:
    return ring.logical_shift_right(mask, bits - 1) & 1


def _odd(shape_of: Tensor) -> Tensor:
    return shape_of | 1


def _one_hot(mask: Tensor, width: int, _bits: int) -> Tensor:
    return torch.nn.functional.one_hot(ring.reduce(mask, width), 1 << width)


_VALUES: dict[str, Callable[..., Tensor]] = {
    "mul": lambda a, b: a * b,
    "matmul": ring.matmul,
    "sum_square": lambda a: (a * a).sum(-1, keepdim=True),
    "shift": _shift,
    "top_bit": _top_bit,
    "odd": _odd,
    "xor_of": ring.reduce,
    "and": lambda a, b, _bits: a & b,
    "bit_of": lambda a, _bits: a & 1,
    "one_hot": _one_hot,
}

TABLES: dict[str, Callable[..., None]] = {"trigonometry": waves.other_share, "falling": falling.other_share}
"""Kinds with several rows for each element, laid out in blocks; nothing else is computed from them. Each function turns
one party's shares, given the masks, into the other's."""

_WIDTHS: dict[str, Callable[..., int]] = {
    "top_bit": lambda _bits, width: width,
    "falling": lambda _bits, _drop, _degree: falling.WORD_BITS,
    "xor_of": lambda bits: bits,
    "and": lambda bits: bits,
    "bit_of": lambda width: width,
    "one_hot": lambda _width, bits: bits,
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
    if width_bits(step) == WORD_BITS:
        return message.view(torch.int64).reshape(step.shape)
    return ring.unpack(message, width_bits(step), step.shape)


def split(step: Step, value: Tensor, share0: Tensor) -> Tensor:
    """Return rank 1's share of ``value`` given rank 0's, at full width."""
    return value ^ share0 if step.kind in XOR_SHARED else value - share0
