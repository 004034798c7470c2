"""Secret places of a table: one-hot rows from one short opening, and the rows of a weight that they pick.

The table itself is never opened: a place is, in as many bits as the table's rows have numbers, under a mask that is
uniform modulo that power of two; and its one-hot row is sent to the owner of the table, masked.
"""

from __future__ import annotations

import torch

from mpccompile.runtime.openings import draw
from mpccompile.runtime.party import Opening, Protocol
from mpccompile.runtime.products import apply_static
from mpccompile.runtime.shared import Shared, StaticWeight, Wire


def one_hot(places: Shared, classes: int, bits: int) -> Protocol[Shared]:
    """Return one-hot rows [..., classes] of secret integers [...] in 0..classes - 1, right modulo 2^bits.

    With c = place + r opened modulo 2^k, where 2^k is not below ``classes``, and the one-hot row u of r dealt, the row
    of the place is u read backwards from c: place = v exactly where r = c - v.
    """
    width = _width(classes)
    mask = draw("mask", places.shape)
    turned = draw("one_hot", (*places.shape, 1 << width), mask, params=(width, bits))
    (opened,) = yield (Opening(places.share, width, mask=mask.share),)
    backwards = (opened.unsqueeze(-1) - torch.arange(classes, device=opened.device)) & ((1 << width) - 1)
    return Shared(turned.share.gather(-1, backwards), 0, bits=bits)


def _width(classes: int) -> int:
    return max(1, (classes - 1).bit_length())


def picked_rows(rows: Shared, weight: StaticWeight, bits: int) -> Protocol[Shared]:
    """Return the rows of a weight [V, D] that one-hot rows [..., V] pick, not truncated, right modulo 2^bits.

    Only the owner of the weight needs the masked rows, so only rank 1 sends.
    """
    mask = draw("mask", rows.shape)
    (delta,) = yield (Opening(rows.share, bits, to=0, mask=mask.share),)
    return apply_static(Wire(delta, mask, bits, 0), weight, "rows")
