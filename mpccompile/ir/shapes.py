"""Shapes of results, before there is a call to ask."""

from __future__ import annotations

import torch

Shape = tuple[int, ...]
_MATRIX = 2


def broadcast(left: Shape, right: Shape) -> Shape:
    """Return the shape two operands broadcast to; empty where they do not fit."""
    try:
        return tuple(torch.broadcast_shapes(left, right))
    except RuntimeError:
        return ()


def product(left: Shape, right: Shape) -> Shape:
    """Return the shape of a batched matrix product; empty where the operands do not fit, or one is a vector."""
    if min(len(left), len(right)) < _MATRIX or left[-1] != right[-2]:
        return ()
    front = broadcast(left[:-2], right[:-2])
    if not front and (left[:-2] or right[:-2]):
        return ()
    return (*front, left[-2], right[-1])
