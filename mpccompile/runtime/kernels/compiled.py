"""The kernels written in C: each is one pass over its operands where torch takes five to thirty.

They are built when the package is installed, if there is a C compiler, and serve tensors on the CPU. Everything they do
exists in torch operations too, which serve other devices and machines without a compiler.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from mpccompile.runtime.kernels.blocks import BLOCK

WORD_BITS = 64
BYTE_BITS = 8

_POINTER, _COUNT, _WORD, _NUMBER, _INT = (
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.c_uint64,
    ctypes.c_double,
    ctypes.c_int,
)
_SIGNATURES: dict[str, tuple[type, ...]] = {
    "mpc_pack": (_POINTER, _POINTER, _WORD, _COUNT, _INT, _POINTER),
    "mpc_combine": (_POINTER, _POINTER, _COUNT, _INT, _INT, _POINTER),
    "mpc_quotient": (_POINTER, _POINTER, _POINTER, _COUNT, _INT, _INT, _WORD, _INT, _POINTER, _POINTER),
    "mpc_waves": (_POINTER, _COUNT, _COUNT, _INT, _INT, _NUMBER, _POINTER),
    "mpc_turn_back": (
        *(_POINTER, _POINTER, _COUNT, _COUNT, _WORD, _INT, _INT),
        *(_POINTER, _POINTER, _POINTER, _WORD, _WORD, _POINTER),
    ),
    "mpc_falling": (_POINTER, _COUNT, _COUNT, _INT, _INT, _INT, _POINTER, _POINTER),
    "mpc_range_words": (
        *(_POINTER, _POINTER, _COUNT, _COUNT, _WORD, _INT, _INT, _INT),
        *(_POINTER, _POINTER, _INT, _POINTER),
    ),
    "mpc_amx_pack_left": (_POINTER, _COUNT, _COUNT, _COUNT, _INT, _POINTER),
    "mpc_amx_pack_right": (_POINTER, _COUNT, _COUNT, _COUNT, _INT, _POINTER),
    "mpc_amx_multiply": (*(_POINTER, _POINTER, _COUNT, _COUNT, _COUNT, _COUNT), *(_INT, _INT, _INT, _INT, _POINTER)),
}


@cache
def library() -> ctypes.CDLL | None:
    """Load the library, or return None where it was not built."""
    spec = importlib.util.find_spec("mpccompile.runtime.kernels._native")
    if spec is None or spec.origin is None:
        return None
    return bound(spec.origin)


def bound(path: str) -> ctypes.CDLL:
    """Load the library at ``path``; kernels that the processor or the compiler has no instructions for are left out."""
    loaded = ctypes.CDLL(path)
    for name, types in _SIGNATURES.items():
        function = getattr(loaded, name, None)
        if function is not None:
            function.argtypes, function.restype = types, None
    return loaded


def serves(x: Tensor) -> bool:
    """Say whether the kernels can work on ``x``: on the CPU, where they were built."""
    return x.device.type == "cpu" and library() is not None


def call(name: str, *arguments: Tensor | float | None) -> None:
    """Call a kernel: tensors, which have to be contiguous, go as pointers, and None as the null pointer."""
    passed = (argument.data_ptr() if isinstance(argument, Tensor) else argument for argument in arguments)
    getattr(library(), name)(*passed)


def pack(share: Tensor, mask: Tensor | None, offset: int, bits: int) -> Tensor:
    """Return the low ``bits`` bits, whole bytes, of share + mask + offset, one element after the other.

    Args:
        share: int64 of any shape.
        mask: int64 of the same shape, or None.
        offset: Added to every element.
        bits: A multiple of 8, at most 64.
    """
    share = share.contiguous()
    held = None if mask is None else mask.contiguous()
    message = torch.empty(share.numel() * (bits // BYTE_BITS), dtype=torch.uint8)
    call("mpc_pack", share, held, _unsigned(offset), share.numel(), bits // BYTE_BITS, message)
    return message


def combine(mine: Tensor, theirs: Tensor | None, bits: int, shape: Sequence[int], *, xor: bool = False) -> Tensor:
    """Return the sum, or XOR, modulo 2^bits of the values in two messages that :func:`pack` wrote.

    Args:
        mine: uint8.
        theirs: uint8 of as many bytes, or None to read ``mine`` alone.
        bits: A multiple of 8, at most 64.
        shape: Shape of the values.
        xor: XOR instead of adding.
    """
    values = torch.empty(tuple(shape), dtype=torch.int64)
    call("mpc_combine", mine, theirs, values.numel(), bits // BYTE_BITS, int(xor), values)
    return values


def quotient(
    opened: Tensor, high: Tensor, top: Tensor | None, bits: int, drop: int, offset: int, rank: int
) -> tuple[Tensor, Tensor]:
    """Return the public part of a truncation, and this party's share of its result; ``openings`` says what they are.

    Args:
        opened: int64, the opened value modulo 2^bits.
        high: int64, the share of the mask's bits above ``drop``.
        top: int64, the share of its top bit, or None where the carry vanishes.
        bits: Width of the ring.
        drop: Bits to take off.
        offset: What the public part is too large by.
        rank: 0 or 1.
    """
    opened, high = opened.contiguous(), high.contiguous()
    carry = None if top is None else top.contiguous()
    public, share = torch.empty_like(opened), torch.empty_like(opened)
    call("mpc_quotient", opened, high, carry, opened.numel(), bits, drop, _unsigned(offset), rank, public, share)
    return public, share


def waves(masks: Tensor, shares: Tensor, period_bits: int, harmonics: int, scale_bits: int) -> None:
    """Replace one party's shares of the waves of ``masks`` by the other's.

    Args:
        masks: int64, contiguous.
        shares: int64, contiguous, the blocks of :mod:`~mpccompile.runtime.kernels.blocks`.
        period_bits: log2 of the period.
        harmonics: Number of cosines, and of sines.
        scale_bits: Fractional bits of a wave.
    """
    unit = float(1 << scale_bits)
    call("mpc_waves", masks, masks.numel(), BLOCK, period_bits, harmonics, unit, shares)


def turn_back(
    opened: Tensor,
    waves_of_mask: Tensor,
    angle: tuple[int, int],
    coefficients: tuple[Sequence[float], Sequence[float]],
    line: tuple[Tensor | None, int, int],
) -> Tensor:
    """Return this party's share of a series of a masked value; ``series.turn_back`` says how.

    Args:
        opened: int64, the opened values.
        waves_of_mask: int64, contiguous, this party's shares of the mask's waves, in blocks.
        angle: Origin of the angle in ring units, and log2 of the period.
        coefficients: Of the cosines and of the sines, in units of the public factors.
        line: This party's share of the argument or None, its factor, and a number to add.
    """
    opened = opened.contiguous()
    share = torch.empty_like(opened)
    (origin, period_bits), (x, slope, constant) = angle, line
    cosine, sine = (torch.tensor(list(values), dtype=torch.float64) for values in coefficients)
    held = None if x is None else x.contiguous()
    call(
        "mpc_turn_back",
        *(opened, waves_of_mask, opened.numel(), BLOCK, _unsigned(origin), period_bits),
        *(cosine.numel(), cosine, sine, held),
        *(_unsigned(slope), _unsigned(constant), share),
    )
    return share


def falling(masks: Tensor, shares: Tensor, bits: int, drop: int, factors: Sequence[int]) -> None:
    """Replace one party's shares of falling factorials of ``masks`` by the other's.

    Args:
        masks: int64, contiguous.
        shares: int32, contiguous, in blocks.
        bits: Width of the ring.
        drop: Bits of a window.
        factors: What the first, second, ... factorial is multiplied by.
    """
    table = torch.tensor(list(factors), dtype=torch.int64).to(torch.int32)
    call("mpc_falling", masks, masks.numel(), BLOCK, bits, drop, len(factors), table, shares)


def range_words(
    opened: Tensor,
    rows: Tensor,
    window: tuple[int, int, int, int],
    coins: Tensor,
    only: Tensor | None,
    rank: int,
) -> Tensor:
    """Return this party's two random combinations of the words of a range test; ``checks`` says what they are.

    Args:
        opened: int64, the opened values.
        rows: int32, contiguous, this party's shares of the falling factorials, in blocks.
        window: Lower end of the range in ring units, width of the ring, bits of a window, and the polynomial's degree.
        coins: int64, a public random word an element.
        only: bool of the same number of elements, or None; where False, nothing is tested.
        rank: 0 or 1.
    """
    opened, coins = opened.contiguous(), coins.contiguous()
    kept = None if only is None else only.contiguous()
    totals = torch.empty(2, dtype=torch.int64)
    low, bits, drop, degree = window
    call(
        "mpc_range_words",
        *(opened, rows, opened.numel(), BLOCK, _unsigned(low), bits, drop, degree),
        *(coins, kept, rank, totals),
    )
    return totals


def _unsigned(word: int) -> int:
    return word % (1 << WORD_BITS)
