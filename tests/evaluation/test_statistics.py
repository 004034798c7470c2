from __future__ import annotations

import pytest
import torch
from scipy.stats import binomtest, norm

from mpccompile.evaluation.statistics import Z, mean, proportion


@pytest.mark.parametrize(("hits", "trials"), [(0, 10), (10, 10), (7, 10), (872, 1000), (1, 1)])
def test_wilsons_interval_is_scipys(hits, trials):
    found = proportion(hits, trials)
    expected = binomtest(hits, trials).proportion_ci(0.95, method="wilson")
    assert found.value == hits / trials
    assert found.low == pytest.approx(expected.low, abs=1e-6)
    assert found.high == pytest.approx(expected.high, abs=1e-6)


def test_the_mean_has_the_normal_interval():
    found = mean(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    half = norm.ppf(0.975) * (5 / 3) ** 0.5 / 2
    assert (found.value, found.low, found.high) == pytest.approx((2.5, 2.5 - half, 2.5 + half), abs=1e-6)
    assert pytest.approx(norm.ppf(0.975), abs=1e-6) == Z
    assert mean(torch.tensor([3.0])).low == 3.0
