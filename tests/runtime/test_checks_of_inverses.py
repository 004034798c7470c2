"""An inverse, a norm or a softmax of values that left their range is reported, or right all the same."""

from __future__ import annotations

import pytest
import torch

from mpccompile.ir import ops
from mpccompile.runtime import functions as mpc
from mpccompile.runtime.inverse import RESIDUAL_LIMIT
from tests.runtime.checked import checked, verdict
from tests.runtime.pair import Prepared, share

FRAC_BITS = 16
UNIT = 2.0**-FRAC_BITS
TOLERANCE = 1e-4
RESIDUAL_BOUND = 1.5 * RESIDUAL_LIMIT
"""The largest relative error of an inverse that may pass its test: one of four windows beyond the limit."""

# ----------------------------------------------------------------------------------------------------------- inverses

INVERSES = {"reciprocal": lambda x: 1 / x, "rsqrt": lambda x: x**-0.5}
SWEEP = [
    *torch.linspace(0.02, 0.5, 12).tolist(),
    *torch.linspace(4.0, 8.0, 12).tolist(),
    *torch.logspace(1, 8.6, 12).tolist(),
    *(-torch.logspace(-4, 8.6, 10)).tolist(),
    0.0,
    UNIT,
]


@pytest.mark.parametrize("name", INVERSES)
@pytest.mark.parametrize("scope", [(0.5, 4.0), (0.5, 40.0), (0.5, 1500.0)])
def test_an_inverse_out_of_range_is_reported_or_right(name, scope):
    outside = [value for value in SWEEP if not scope[0] <= value <= scope[1]]
    prepared = Prepared(checked(lambda a: getattr(mpc, name)(a, scope=scope)), share(torch.ones(2)))
    reported = 0
    for value in outside:
        x = torch.tensor([1.0, value], dtype=torch.float64)
        result = verdict(prepared, share(x))
        reported += result is None
        if result is not None:
            exact = INVERSES[name]((x / UNIT).round() * UNIT)
            assert float(((result - exact).abs() - UNIT).max() / exact.max()) <= RESIDUAL_BOUND
    assert reported >= len(outside) // 2


# -------------------------------------------------------------------------------------------------------------- norms

VARIANCE = (0.25, 4.0)
NORM_BOUND = 1e-3
"""Values of 16 significant bits, an inverse to 2e-5 and values of up to 30 deviations."""


def unit_rows(columns: int, rows: int = 3) -> torch.Tensor:
    x = torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(columns))
    x = x - x.mean(-1, keepdim=True)
    return x / x.std(-1, unbiased=False, keepdim=True)


@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("columns", [8, 48, 768, 4096, 8192])
def test_norms_are_right_all_over_their_range(norm, columns):
    normal = unit_rows(columns)
    widened = (VARIANCE[0] * 0.999, VARIANCE[1] * 1.001)
    prepared = Prepared(checked(lambda a: getattr(mpc, norm)(a, variance=widened)), share(normal))
    for variance in (*VARIANCE, 0.3, 1.0, 3.3):
        x = normal * variance**0.5
        result = verdict(prepared, share(x))
        assert result is not None
        assert float((result - getattr(ops, norm)(x)).abs().max()) <= NORM_BOUND


@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("columns", [8, 768, 4096])
def test_norms_out_of_range_are_reported_or_right(norm, columns):
    normal = unit_rows(columns)
    prepared = Prepared(checked(lambda a: getattr(mpc, norm)(a, variance=VARIANCE)), share(normal))
    # Dense where a sum of squares comes near the size of the ring and wraps around into the range again.
    factors = [0.0, 1e-4, 0.01, 0.1, 0.3, 0.45, *(1.1 * 1.45**step for step in range(28))]
    for factor in factors:
        x = normal * 2.0
        x[1] *= factor
        result = verdict(prepared, share(x))
        if result is not None:
            exact = getattr(ops, norm)(x)
            assert float((result - exact).abs().max() / exact.abs().max()) <= NORM_BOUND + RESIDUAL_BOUND


def hostile_rows(columns: int) -> dict[str, torch.Tensor]:
    normal = unit_rows(columns)
    spike = torch.zeros(3, columns, dtype=torch.float64)
    spike[:, 5] = columns**0.5
    offset = normal + 200.0
    alternating = torch.ones(3, columns, dtype=torch.float64)
    alternating[:, ::2] = -1.0
    return {
        "one entry holds all": spike,
        "a mean far above the deviation": offset,
        "two values": alternating,
        "constant": torch.full((3, columns), 3.0, dtype=torch.float64),
        "zero": torch.zeros(3, columns, dtype=torch.float64),
        "one outlier beyond the range": torch.cat([normal[:2], spike[:1] * 40]),
        "one huge outlier": torch.cat([normal[:2], spike[:1] * 1e6]),
    }


@pytest.mark.parametrize("case", hostile_rows(8))
@pytest.mark.parametrize("columns", [96, 768])
def test_layer_norm_of_hostile_rows_is_reported_or_right(case, columns):
    x = hostile_rows(columns)[case]
    result = verdict(lambda a: mpc.layer_norm(a, variance=VARIANCE), share(x))
    within = bool(((x.var(-1, unbiased=False) >= VARIANCE[0]) & (x.var(-1, unbiased=False) <= VARIANCE[1])).all())
    assert (result is not None) == within
    if result is not None:
        assert float((result - ops.layer_norm(x)).abs().max()) <= NORM_BOUND


# ------------------------------------------------------------------------------------------------------------ softmax

SOFTMAX_BOUND = 3e-4
"""Probabilities hold 16 bits; each halving's square doubles what the first one rounds."""
SCOPES = {
    "constant shift": mpc.SoftmaxRange(-4.0, 4.0, ((0.3, 4.0),), shift=0.5),
    "centred": mpc.SoftmaxRange(-4.0, 4.0, ((0.3, 4.0),), centred=True),
    "halved": mpc.SoftmaxRange(-8.0, 8.0, ((0.3, 4.0), (1 / 40, 0.5)), centred=True, halvings=1),
}


@pytest.mark.parametrize("name", SCOPES)
def test_softmax_out_of_range_is_reported_or_right(name):
    scope = SCOPES[name]
    normal = torch.randn(2, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    normal = normal - normal.mean(-1, keepdim=True)
    prepared = Prepared(checked(lambda a: mpc.softmax(a, scope=scope, tolerance=TOLERANCE)), share(normal))
    assert verdict(prepared, share(normal)) is not None
    reported = 0
    attempts = []
    for value in (3.0, -3.0, 6.0, 9.0, -9.0, 30.0, -30.0, 1e3, -1e3, 2.0**16, 2.0**20, 2.0**22):
        x = normal.clone()
        x[1, 7] = value
        attempts.append(x)
    attempts += [normal * factor for factor in (0.0, 0.01, 2.0, 4.0, 8.0, 1e3)]
    attempts += [normal + offset for offset in (-1.0, 5.0, 20.0, -1e4)]
    for x in attempts:
        result = verdict(prepared, share(x))
        reported += result is None
        if result is not None:
            assert float((result - ops.softmax(x)).abs().max()) <= SOFTMAX_BOUND + RESIDUAL_BOUND
    assert reported >= len(attempts) // 4


@pytest.mark.parametrize("name", SCOPES)
def test_what_a_softmax_masks_is_neither_tested_nor_used(name):
    x = torch.randn(3, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    keep = torch.ones(3, 24, dtype=torch.bool)
    keep[0, 5:] = False
    keep[1] = False
    wild = torch.where(keep, x, torch.full_like(x, 1e6))
    program = Prepared(checked(lambda a, k: mpc.softmax(a, k, scope=SCOPES[name], tolerance=TOLERANCE)), share(x), keep)
    result = verdict(program, share(wild), keep)
    assert result is not None
    assert float((result - ops.softmax(x, keep)).abs().max()) <= SOFTMAX_BOUND
    assert not result[~keep].any()
