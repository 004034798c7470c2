"""Masks of rows that stay with the parties: each row of a text has one, for as long as the text goes on.

A row is opened once, under its mask, and every later call of the text uses that opening, as every call uses that of a
weight. So the masks belong to the text and not to a call: parties and dealer expand them row after row from a stream of
the text, and no two texts of a session have the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mpccompile.errors import DealerError

if TYPE_CHECKING:
    from mpccompile.runtime.plan import Step
    from mpccompile.runtime.prg import Prg

ROW_AXIS = -2
HELD, NEXT = "held", "next"
"""The rows that earlier calls have put, with zeros for those that are not there yet; and the rows of this call."""
GROWTH_ROWS = 64


class RowMasks:
    """One party's shares of the masks of a text's rows, by name.

    Args:
        stream: What the seed of the party and the dealer expands to for this text.
    """

    def __init__(self, stream: Prg) -> None:
        self._stream = stream
        self._streams: dict[str, Prg] = {}
        self._rows: dict[str, Tensor] = {}
        self._first: dict[str, int] = {}
        self._used: dict[str, int] = {}

    def share(self, step: Step, filled: int) -> Tensor:
        """Return the share of a step of kind ``row_mask``, for a call before which so many rows were put.

        Args:
            step: Its shape is [..., rows, D]; its params are a name, and ``HELD`` or ``NEXT``.
            filled: The row of the text that the call's own rows begin at.

        Raises:
            DealerError: If masks of new rows are asked for that another call had, or a row is left out.
        """
        name, which = step.params
        if which == NEXT:
            # Rows of a name may begin with a later call than the text does.
            first = self._first.setdefault(name, filled)
            if self._used.get(name, first) != filled:
                raise DealerError(f"row {filled} of {name} is not the next one of its text: a mask would be used twice")
            self._used[name] = filled + step.shape[ROW_AXIS]
            return self._masks(name, step, filled, self._used[name])
        share = torch.zeros(step.shape, dtype=torch.int64)
        first, last = self._first.get(name, 0), self._used.get(name, 0)
        share[..., first:last, :] = self._masks(name, step, first, last)
        return share

    def _masks(self, name: str, step: Step, first: int, last: int) -> Tensor:
        """Return the masks [..., last - first, D]; they are kept, so that no call expands the whole text again."""
        *front, _rows, width = step.shape
        if name not in self._streams:
            self._streams[name] = self._stream.spawn(f"rows {name}")
            self._rows[name] = torch.empty(0, *front, width, dtype=torch.int64)
        known = self._rows[name]
        if last > known.shape[0]:
            more = self._streams[name].words((max(GROWTH_ROWS, last - known.shape[0]), *front, width))
            self._rows[name] = known = torch.cat([known, more])
        return known[first:last].movedim(0, ROW_AXIS)
