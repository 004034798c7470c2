"""Rows that stay with the parties between calls, such as the keys and values of a text's tokens.

A row is opened once, under a mask of its own (see ``row_masks``), and both parties keep what was opened: the row plus
its mask, uniform for whoever does not know the mask whole. Rows that are not there yet are zero, and known to be.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mpccompile.errors import MpcCompileError
from mpccompile.runtime.openings import RING_BITS, draw, truncate
from mpccompile.runtime.party import Opening, Protocol, current
from mpccompile.runtime.row_masks import HELD, NEXT, ROW_AXIS
from mpccompile.runtime.shared import Kept, Shared, Wire


class Residents:
    """What the calls of a text leave for the next one, by name: rows plus their masks, as both parties know them.

    Args:
        device: Where shares live.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self._device = device
        self._rows: dict[str, Tensor] = {}
        self._filled: dict[str, int] = {}

    def begin(self) -> None:
        """Drop what was held: a text begins, of which no row is there yet."""
        self._rows, self._filled = {}, {}

    def put(self, name: str, rows: Tensor, first: int) -> None:
        """Keep rows [..., T, D] from row ``first`` on; before the first rows of a name there are zeros.

        Raises:
            MpcCompileError: If a row is left out, or put a second time.
        """
        last = first + rows.shape[ROW_AXIS]
        if first != self._filled.get(name, first):
            raise MpcCompileError(f"rows {first} to {last} of {name} do not follow the {self._filled[name]} there are")
        held = self._rows.get(name, rows[..., :0, :])
        if last > held.shape[ROW_AXIS]:
            # What no program has read yet has the size of what was put: it grows by doubling.
            size = last if first == 0 else 2 * last
            self._rows[name] = held = _padded(held, (*held.shape[:ROW_AXIS], size, held.shape[-1]))
        held[..., first:last, :] = rows
        self._filled[name] = last

    def get(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Return what is held, with zeros behind it up to ``shape``; all zeros in the first call of a text.

        Raises:
            MpcCompileError: If nothing of that shape is held.
        """
        if not self._filled:
            self._rows[name] = torch.zeros(shape, dtype=torch.int64, device=self._device)
        held, filled = self._rows.get(name), self._filled.get(name, 0)
        if held is None or _of_row(tuple(held.shape)) != _of_row(shape) or filled > shape[ROW_AXIS]:
            raise MpcCompileError(f"no earlier call left {name} of shape {list(shape)} with the parties")
        if tuple(held.shape) != shape:
            self._rows[name] = held = _padded(held[..., :filled, :], shape)
        return held


def _of_row(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:ROW_AXIS], shape[-1])


def _padded(rows: Tensor, shape: tuple[int, ...]) -> Tensor:
    whole = torch.zeros(shape, dtype=rows.dtype, device=rows.device)
    whole[..., : rows.shape[ROW_AXIS], :] = rows
    return whole


def held_rows(name: str, opened: Tensor, frac_bits: int) -> Shared:
    """Return rows that stay as a secret that is open already.

    Args:
        name: What they are held under.
        opened: Rows plus masks, int64 [..., L, D]; zeros where there is no row yet.
        frac_bits: Fractional bits of the rows.
    """
    mask = draw("row_mask", opened.shape, params=(name, HELD))
    share = opened - mask.share if current().rank == 0 else -mask.share
    wire = Wire(opened, mask, RING_BITS, frac_bits)
    return Shared(share, frac_bits, [wire], kept=Kept(name, wire))


def keep(x: Shared, name: str, frac_bits: int) -> Protocol[Shared]:
    """Open new rows [..., T, D] under the masks that they keep, once; the result has that opening.

    A mask is uniform modulo 2^64 and belongs to one row, which is opened in full words and never again.
    """
    rows = yield from truncate(x, frac_bits)
    if rows.kept is None or rows.kept.name != name:
        mask = draw("row_mask", rows.shape, params=(name, NEXT))

        def land(opened: Tensor) -> None:
            wire = Wire(opened, mask, RING_BITS, frac_bits)
            rows.wires.append(wire)
            rows.kept = Kept(name, wire)

        yield (Opening(rows.share, RING_BITS, mask=mask.share, land=land),)
    return rows
