"""Bringing a positive secret of any size near the top of its range, where one series serves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from mpccompile.runtime import compare
from mpccompile.runtime.openings import truncate
from mpccompile.runtime.party import Protocol, current, together
from mpccompile.runtime.products import product
from mpccompile.runtime.shared import Shared

STEP_BITS = 4
"""A value is brought within a factor of 2^4 below the largest: an inverse on such a range is one series."""
ROUNDING = 0.05
"""Room below the range for a value that a limit's rounding puts on the other side."""
LOWEST = 2.0**-STEP_BITS * (1 - ROUNDING)
"""The smallest that a scaled value is, as a share of the largest."""


@dataclass(frozen=True)
class Scale:
    """What a value was multiplied by: 2^STEP_BITS for each limit it is below of.

    Attributes:
        below: For each limit, from the largest on, a shared 0 or 1.
    """

    below: tuple[Shared, ...]
    like: Shared

    def factor(self, step_bits: int = STEP_BITS) -> Shared:
        """Return the product of 2^step_bits for each limit, a shared integer; no message."""
        share = constant(Shared(self.like.share, 0), 1)
        for step, smaller in enumerate(self.below):
            share = share + smaller.share * ((1 << step_bits * (step + 1)) - (1 << step_bits * step))
        return Shared(share, 0)


def scale_of(x: Shared, low: float, high: float) -> Protocol[Scale]:
    """Compare a value with high / 16, high / 16^2 and so on down to ``low``, all at once.

    Multiplied by its factor, a value of [low, high] lies in (high / 16, high]. One beyond ``high`` keeps its size, and
    a smaller one stays small: both fail the test of the inverse that is made of them.
    """
    steps = max(0, math.ceil(math.log2(high / low) / STEP_BITS) - 1)
    limits = [high * 2.0 ** (-STEP_BITS * (step + 1)) for step in range(steps)]
    below = yield from together(
        *(compare.is_negative(Shared(x.share - constant(x, limit), x.frac_bits)) for limit in limits)
    )
    return Scale(below, x)


def scaled(x: Shared, scale: Scale, frac_bits: int) -> Protocol[Shared]:
    """Return the value times its factor, at ``frac_bits`` fractional bits or those that it has, if fewer."""
    product_ = yield from product(x, scale.factor(), "mul")
    return (yield from truncate(product_, min(product_.frac_bits, frac_bits)))


def constant(like: Shared, value: float) -> torch.Tensor:
    """Return a public number as this party's share of a sharing of that shape."""
    fixed = round(value * (1 << like.frac_bits)) if current().rank == 0 else 0
    return torch.full_like(like.share, fixed)
