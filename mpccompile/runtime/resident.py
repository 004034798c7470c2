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
    """What the calls of a text leave for the next one, by name: rows plus their masks, as both parties know them."""

    def __init__(self) -> None:
        self._rows: dict[str, Tensor] = {}
        self._filled: dict[str, int] = {}

    def put(self, name: str, rows: Tensor, first: int) -> None:
        """Keep rows [..., T, D] from row ``first`` on; at 0 all that was held under the name is dropped.

        Raises:
            MpcCompileError: If there is no room for them, or a row is left out.
        """
        last = first + rows.shape[ROW_AXIS]
        if first == 0:
            self._rows[name] = rows.contiguous().clone()
        elif first != self._filled.get(name) or last > self._rows[name].shape[ROW_AXIS]:
            raise MpcCompileError(f"{name} has no room for rows {first} to {last}")
        else:
            self._rows[name][..., first:last, :] = rows
        self._filled[name] = last

    def get(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Return what is held, with zeros behind it up to ``shape``.

        Raises:
            MpcCompileError: If nothing of that shape is held.
        """
        held = self._rows.get(name)
        if held is None or not _fits(tuple(held.shape), shape):
            raise MpcCompileError(f"no earlier call left {name} of shape {list(shape)} with the parties")
        if tuple(held.shape) != shape:
            self._rows[name] = held = _padded(held, shape)
        return held


def _fits(held: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return held[:ROW_AXIS] == shape[:ROW_AXIS] and held[-1] == shape[-1] and held[ROW_AXIS] <= shape[ROW_AXIS]


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
