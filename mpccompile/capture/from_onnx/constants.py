"""Which stored numbers are no secret: those that say how a model computes, not what it learned.

A file does not tell a weight from a constant. What is taken for a constant can be read by both parties, so that
anything in doubt is a weight.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mpccompile.capture.from_onnx.names import is_made_up, is_path

_FREQUENCIES = "inv_freq"
_HOPELESS = -1e4
_MATRIX = 2
# Fewer say nothing of the rule that made them.
_ROWS = 3
# So many numbers tell most weights from a mask.
_SEVERAL = 64
_AGREEMENT = 1e-4


def is_public(name: str, value: Tensor, *, literal: bool) -> bool:
    """Say whether a stored tensor is a constant that both parties may know.

    Args:
        name: Its name in the file.
        value: The tensor.
        literal: Whether it stands in a Constant node, as numbers of a program do.

    Returns:
        True for whole numbers and truth values; for single numbers without the name of a weight; and for tables that
        are recognised: masks, and frequencies, angles, cosines and sines of rotary position embeddings.
    """
    if not value.is_floating_point() or value.numel() == 0:
        return True
    if value.numel() == 1:
        return literal or is_made_up(name) or (value.dim() == 0 and not is_path(name))
    return name.endswith(_FREQUENCIES) or is_mask(value) or is_frequencies(value) or is_rotary(value)


def is_mask(value: Tensor) -> bool:
    """Say whether a tensor masks: 0 here and a hopeless number there, or 0 here and 1 there."""
    if value.dim() < _MATRIX or not _has_mask_numbers(value.reshape(-1)[:_SEVERAL]):
        return False
    hidden = value <= _HOPELESS
    shown = value == 0
    if bool(hidden.any()) and bool((hidden | shown).all()):
        return True
    return bool(shown.any()) and not bool(shown.all()) and bool((shown | (value == 1)).all())


def _has_mask_numbers(value: Tensor) -> bool:
    """Say whether each number is one that masks hold: few say no to a weight, whose gigabytes are not compared then."""
    return bool(((value <= _HOPELESS) | (value == 0) | (value == 1)).all())


def is_frequencies(value: Tensor) -> bool:
    """Say whether a tensor holds ``1, r, r ** 2, ...``: the frequencies of Su et al., "RoFormer"."""
    flat = value.reshape(-1)
    if flat.numel() < _ROWS or float(flat[0]) != 1 or not 0 < float(flat[1]) < 1:
        return False
    powers = flat.double()
    wanted = powers[1] ** torch.arange(powers.numel(), dtype=torch.float64)
    return bool(((powers - wanted).abs() <= _AGREEMENT * wanted).all())


def is_rotary(value: Tensor) -> bool:
    """Say whether a tensor [..., T, D] holds ``t * f``, its cosine or its sine: row 1 says the frequencies f."""
    if value.dim() < _MATRIX or value.shape[-2] < _ROWS:
        return False
    table = value.reshape(-1, *value.shape[-2:])
    # A few rows say no to a weight: all of it would stand in memory nine times.
    if not any(True for _ in _frequencies(table[:1, :_ROWS].double())) or not bool(table[:, 1].any()):
        return False
    # Ones are the cosines of nothing, and a weight that was never trained.
    return any(bool(frequencies.any()) for frequencies in _frequencies(table.double()))


def _frequencies(table: Tensor) -> Iterator[Tensor]:
    """Find the frequencies with which a table [N, T, D] holds angles, then cosines, then sines."""
    steps = torch.arange(table.shape[1], dtype=torch.float64)[:, None]
    found = table[:, 1:2]
    if bool(((steps * found - table).abs() <= _AGREEMENT * table.abs()).all()):
        yield found
    if float(table.abs().max()) <= 1:
        for of, inverse in ((torch.cos, torch.acos), (torch.sin, torch.asin)):
            frequencies = inverse(found)
            if bool((of(steps * frequencies) - table).abs().lt(_AGREEMENT).all()):
                yield frequencies
