"""Shares that stay with a party between calls, such as the keys and values of the tokens that were read."""

from __future__ import annotations

import torch
from torch import Tensor

from mpccompile.errors import MpcCompileError
from mpccompile.runtime.shared import Shared

ROW_AXIS = -2


class Residents:
    """What one call leaves for the next, by name: this party's shares, row after row.

    Nothing of it is opened, or leaves the process. A row that was not put is a share of zero. Which rows are filled is
    public, and every later use of a row is masked afresh.
    """

    def __init__(self) -> None:
        self._held: dict[str, Shared] = {}

    def put(self, name: str, rows: Shared, first: int) -> None:
        """Write rows [..., T, D] from row ``first`` on; at 0 all that was held under the name is dropped.

        Raises:
            MpcCompileError: If there is no room for them, or nothing to add them to.
        """
        if first == 0:
            self._held[name] = Shared(rows.share.contiguous().clone(), rows.frac_bits)
            return
        held, last = self._held.get(name), first + rows.shape[ROW_AXIS]
        if held is None or last > held.shape[ROW_AXIS] or held.frac_bits != rows.frac_bits:
            raise MpcCompileError(f"{name} has no room for rows {first} to {last}")
        held.share[..., first:last, :] = rows.share

    def get(self, name: str, shape: tuple[int, ...], frac_bits: int) -> Shared:
        """Return what is held, with rows of zeros behind it up to ``shape``.

        Raises:
            MpcCompileError: If nothing of that shape and precision is held.
        """
        held = self._held.get(name)
        if held is None or held.frac_bits != frac_bits or not _fits(held.shape, shape):
            raise MpcCompileError(f"no earlier call left {name} of shape {list(shape)} with the parties")
        if held.shape != shape:
            self._held[name] = held = Shared(_padded(held.share, shape), frac_bits)
        return Shared(held.share, frac_bits)


def _fits(held: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return held[:ROW_AXIS] == shape[:ROW_AXIS] and held[-1] == shape[-1] and held[ROW_AXIS] <= shape[ROW_AXIS]


def _padded(share: Tensor, shape: tuple[int, ...]) -> Tensor:
    whole = torch.zeros(shape, dtype=share.dtype, device=share.device)
    whole[..., : share.shape[ROW_AXIS], :] = share
    return whole
