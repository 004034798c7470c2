"""Secret values as one party holds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from mpccompile.errors import MpcCompileError


@dataclass(frozen=True)
class Mask:
    """One party's share of a secret mask, and the key of the step that dealt it."""

    key: int
    share: Tensor


@dataclass(frozen=True)
class Wire:
    """A value opened under a mask: ``x = delta - mask`` modulo 2^bits, ``delta`` known to both parties.

    Attributes:
        delta: Public int64 tensor; only its low ``bits`` count.
        mask: The share of the mask.
        bits: Width of the ring the relation holds in.
        frac_bits: Fractional bits of the value.
    """

    delta: Tensor
    mask: Mask
    bits: int
    frac_bits: int

    def moved(self, offset: int) -> Wire:
        """Return the wire of the value plus a public number, in ring units."""
        return Wire(self.delta + offset, self.mask, self.bits, self.frac_bits)


@dataclass(frozen=True)
class Kept:
    """Rows that stay with the parties between calls: what they are held under, and their opening, which stays too."""

    name: str
    wire: Wire


class Arrival:
    """What an opening on its way will bring, worked out once, by whoever asks first."""

    def __init__(self, finish: Callable[[Tensor], Shared]) -> None:
        self._finish = finish
        self._opened: Tensor | None = None
        self._result: Shared | None = None

    def land(self, opened: Tensor) -> None:
        """Take the opened value."""
        self._opened = opened

    @property
    def landed(self) -> bool:
        """Whether the result can be asked for."""
        return self._opened is not None or self._result is not None

    def result(self) -> Shared:
        """Return what came of the opened value, and keep nothing else.

        Raises:
            MpcCompileError: If it has not landed.
        """
        if self._result is None:
            if self._opened is None:
                raise MpcCompileError("a protocol went on before the value that it waits for was opened")
            self._result = self._finish(self._opened)
            self._opened = None
            del self._finish
        return self._result


@dataclass
class Shared:
    """A secret tensor: this party's additive share in Z_2^64, in fixed point.

    Attributes:
        share: int64; the two parties' shares add up to the value times 2^frac_bits.
        frac_bits: Fractional bits; a product holds the sum of its operands' until it is truncated.
        bits: The shares are right modulo 2^bits; below 64 only for a product of narrow wires, until it is truncated.
        wires: Masked openings of this very value, reused by every operation that needs one.
        truncated: The same value at fewer fractional bits, once some operation has asked for it.
        opening: Widths of the masked openings on their way; each becomes a wire in the next round.
        kept: That it stays with the parties between calls, once it is opened for that.
    """

    share: Tensor
    frac_bits: int
    wires: list[Wire] = field(default_factory=list)
    truncated: dict[int, Arrival] = field(default_factory=dict)
    bits: int = 64
    opening: set[int] = field(default_factory=set)
    kept: Kept | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the secret tensor."""
        return tuple(self.share.shape)

    def wire(self, bits: int) -> Wire | None:
        """Return the narrowest wire of at least ``bits`` bits, if there is one."""
        wide = [wire for wire in self.wires if wire.bits >= bits]
        return min(wide, key=lambda wire: wire.bits, default=None)

    def width(self, bits: int) -> int | None:
        """Return the width of the narrowest wire of at least ``bits`` bits, those of the round being made included."""
        widths = [*(wire.bits for wire in self.wires), *self.opening]
        return min((width for width in widths if width >= bits), default=None)


@dataclass(frozen=True)
class ClientValue:
    """An input that rank 1 knows in the clear and has not shared; rank 0 knows its shape only.

    Attributes:
        plain: The integer tensor at rank 1, zeros elsewhere.
    """

    plain: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the input."""
        return tuple(self.plain.shape)


@dataclass(frozen=True)
class StaticWeight:
    """A weight that rank 0 owns, masked once for as long as it is loaded.

    ``difference = weight - mask`` is known to rank 1; the mask is known to the dealer and rank 0.

    Attributes:
        name: Key in the weights file.
        plain: Fixed-point weight at rank 0, zeros at rank 1 (meta tensors while planning).
        frac_bits: Fractional bits.
        operands: Right-hand sides of products prepared ahead, by use: at rank 0 of the weight, at rank 1 of the
            difference.
    """

    name: str
    plain: Tensor
    frac_bits: int
    operands: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight."""
        return tuple(self.plain.shape)

    def __getattr__(self, name: str) -> Any:
        raise MpcCompileError(f"a private weight has no attribute {name!r}", where=self.__dict__.get("name", ""))
