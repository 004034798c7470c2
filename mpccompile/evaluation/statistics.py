"""Numbers with their 95 % confidence intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

Z = 1.959964
"""The normal quantile of 97.5 %."""


@dataclass(frozen=True)
class Estimate:
    """A number measured on a sample, and where the population's lies with 95 % confidence.

    Attributes:
        value: The sample's.
        low: Lower end of the interval.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def proportion(hits: int, trials: int) -> Estimate:
    """Return a share with Wilson's score interval, which is right near 0 and 1 too, unlike value plus or minus.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).

    Args:
        hits: How often it happened.
        trials: Of how many independent trials, at least 1.
    """
    share, spread = hits / trials, Z**2 / trials
    middle = (share + spread / 2) / (1 + spread)
    half = Z * math.sqrt(share * (1 - share) / trials + spread / (4 * trials)) / (1 + spread)
    return Estimate(share, max(0.0, middle - half), min(1.0, middle + half))


def mean(values: Tensor) -> Estimate:
    """Return the mean of at least one value [n], with the normal interval value -+ 1.96 s / sqrt(n)."""
    value = float(values.double().mean())
    if values.numel() == 1:
        return Estimate(value, value, value)
    half = Z * float(values.double().std()) / math.sqrt(values.numel())
    return Estimate(value, value - half, value + half)
