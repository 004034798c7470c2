"""The layout of dealt tables that have several rows for each element.

Elements are taken ``BLOCK`` at a time, and each block has its rows one after the other: what is made, or read, for a
block is contiguous and stays in the second-level cache (twenty rows of words are 640 KiB).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = 1 << 12


def at_once(device: torch.device) -> bool:
    """Say whether whole blocks are worked on together: on a GPU, where starting a kernel costs more than it does."""
    return device.type != "cpu"


def blocks(table: Tensor, rows: int) -> Iterator[tuple[slice, Tensor]]:
    """Yield the elements of each piece of a table, as a slice, and its rows [rows, elements] or [rows, blocks, BLOCK].

    Args:
        table: ``rows`` values for each element, contiguous, of any shape.
        rows: Rows of the table.
    """
    flat = table.view(-1)
    count = flat.numel() // rows
    whole = count // BLOCK * BLOCK
    if not at_once(table.device):
        for start in range(0, whole, BLOCK):
            yield slice(start, start + BLOCK), flat[rows * start : rows * (start + BLOCK)].view(rows, BLOCK)
    elif whole:
        yield slice(0, whole), flat[: rows * whole].view(-1, rows, BLOCK).transpose(0, 1)
    if whole < count:
        yield slice(whole, count), flat[rows * whole :].view(rows, count - whole)
