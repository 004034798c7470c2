"""Cosines and sines of masks, and the series of a masked value that is made of them.

With x - origin = d - r: a cos(d - r) + b sin(d - r) = cos r (a cos d + b sin d) + sin r (a sin d - b cos d), so the
shares of the waves of the mask r, times factors that the opened value d gives, are shares of the series. Harmonics come
by turning the first one on, in float64, which keeps 45 bits after 100 of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mpccompile.runtime.kernels import compiled
from mpccompile.runtime.kernels.blocks import blocks


@dataclass(frozen=True)
class Turn:
    """The public side of a series.

    Attributes:
        origin: Zero of the angle, in ring units.
        period_bits: log2 of the period in ring units.
        cosine: Coefficients a_k in units of the factors' last bit.
        sine: Coefficients b_k, likewise.
        slope: Factor of the argument's share.
        constant: Added to the share.
    """

    origin: int
    period_bits: int
    cosine: tuple[float, ...]
    sine: tuple[float, ...]
    slope: int = 0
    constant: int = 0


def other_share(masks: Tensor, shares: Tensor, period_bits: int, harmonics: int, scale_bits: int) -> None:
    """Replace one party's shares of cos(k w m), then of sin(k w m), k = 1..harmonics, by the other party's.

    Args:
        masks: int64, the masks m; w is 2 pi / 2^period_bits.
        shares: int64, a table in blocks with 2 ``harmonics`` rows.
        period_bits: log2 of the period.
        harmonics: Number of cosines, and of sines.
        scale_bits: Fractional bits of a wave.
    """
    if compiled.serves(masks):
        compiled.waves(masks.contiguous(), shares, period_bits, harmonics, scale_bits)
        return
    unit = float(1 << scale_bits)
    for part, rows in blocks(shares, 2 * harmonics):
        first = _on_circle(masks.reshape(-1)[part].view(rows.shape[1:]), period_bits)
        point = first
        for index in range(harmonics):
            for row, wave in zip((rows[index], rows[harmonics + index]), point, strict=True):
                torch.sub((wave * unit).round_().to(torch.int64), row, out=row)
            point = _turned(point, first)


def turn_back(opened: Tensor, waves: Tensor, turn: Turn, x: Tensor | None) -> Tensor:
    """Return this party's share of constant + slope x + sum_k a_k cos(k w (d - r)) + b_k sin(k w (d - r)).

    Args:
        opened: int64, the opened values d.
        waves: int64, this party's shares of the waves of the masks r, in blocks.
        turn: The series.
        x: This party's share of the argument, or None where the slope is 0.
    """
    if compiled.serves(opened):
        angle, line = (turn.origin, turn.period_bits), (x, turn.slope, turn.constant)
        return compiled.turn_back(opened, waves, angle, (turn.cosine, turn.sine), line)
    share = torch.full_like(opened, turn.constant) if x is None else x * turn.slope + turn.constant
    flat, shifted = share.reshape(-1), (opened - turn.origin).reshape(-1)
    for part, rows in blocks(waves, 2 * len(turn.cosine)):
        flat[part] += _turned_back(shifted[part].view(rows.shape[1:]), rows, turn).reshape(-1)
    return flat.view(opened.shape)


def _turned_back(shifted: Tensor, rows: Tensor, turn: Turn) -> Tensor:
    first = _on_circle(shifted, turn.period_bits)
    point, total = first, torch.zeros_like(shifted)
    for index, (a, b) in enumerate(zip(turn.cosine, turn.sine, strict=True)):
        cosine, sine = point
        along = (a * cosine).add_(b * sine).round_().to(torch.int64)
        across = (a * sine).sub_(b * cosine).round_().to(torch.int64)
        total.add_(along.mul_(rows[index])).add_(across.mul_(rows[len(turn.cosine) + index]))
        point = _turned(point, first)
    return total


Point = tuple[Tensor, Tensor]


def _on_circle(values: Tensor, period_bits: int) -> Point:
    angle = (values & ((1 << period_bits) - 1)).to(torch.float64) * (2 * math.pi / (1 << period_bits))
    return torch.cos(angle), torch.sin(angle)


def _turned(point: Point, by: Point) -> Point:
    return point[0] * by[0] - point[1] * by[1], point[1] * by[0] + point[0] * by[1]
