"""Which stored numbers are no secret: those that say how a model computes, not what it learned.

A file does not tell a weight from a constant. What is taken for a constant can be read by both parties, so that
anything in doubt is a weight.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mpccompile.capture.from_onnx.names import is_made_up, is_path

_FREQUENCIES = "inv_freq"
_HOPELESS = -1e4
_MATRIX = 2
# Fewer say nothing of the rule that made them.
_ROWS = 3
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
    if value.dim() < _MATRIX:
        return False
    hidden = value <= _HOPELESS
    shown = value == 0
    if bool(hidden.any()) and bool((hidden | shown).all()):
        return True
    return bool(shown.any()) and not bool(shown.all()) and bool((shown | (value == 1)).all())


def is_frequencies(value: Tensor) -> bool:
    """Say whether a tensor holds ``1, r, r ** 2, ...``: the frequencies of Su et al., "RoFormer"."""
    powers = value.reshape(-1).double()
    if powers.numel() < _ROWS or float(powers[0]) != 1 or not 0 < float(powers[1]) < 1:
        return False
    wanted = powers[1] ** torch.arange(powers.numel(), dtype=torch.float64)
    return bool(((powers - wanted).abs() <= _AGREEMENT * wanted).all())


def is_rotary(value: Tensor) -> bool:
    """Say whether a tensor [..., T, D] holds ``t * f``, its cosine or its sine: row 1 says the frequencies f."""
    if value.dim() < _MATRIX or value.shape[-2] < _ROWS:
        return False
    table = value.reshape(-1, *value.shape[-2:]).double()
    steps = torch.arange(table.shape[1], dtype=torch.float64)[:, None]
    found = table[:, 1:2]
    if not bool(found.any()):
        return False
    if bool(((steps * found - table).abs() <= _AGREEMENT * table.abs()).all()):
        return True
    if float(table.abs().max()) > 1:
        return False
    for of, inverse in ((torch.cos, torch.acos), (torch.sin, torch.asin)):
        frequencies = inverse(found)
        # Ones are the cosines of nothing, and a weight that was never trained.
        if bool(frequencies.any()) and bool(((of(steps * frequencies) - table).abs() < _AGREEMENT).all()):
            return True
    return False
