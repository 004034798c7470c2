"""Sums, means and variances over any dims."""

from __future__ import annotations

import pytest

from mpccompile.errors import UnsupportedOp
from mpccompile.lowering.lower import lower
from tests.lowering.programs import calls, captured, lowered, seeded

X = seeded(2, 3, 4)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x.mean(), {"mean": 1}),
        (lambda x: x.mean(-1), {"mean": 1}),
        (lambda x: x.mean((0, -1), keepdim=True), {"mean": 1}),
        (lambda x: x.sum(), {"sum": 1}),
        (lambda x: x.sum(1, keepdim=True), {"sum": 1}),
        (lambda x: x.norm(dim=-1), {"square": 1, "sum": 1, "rsqrt": 1, "mul": 1}),
        (lambda x: x / x.norm(dim=-1, keepdim=True), {"square": 1, "sum": 1, "rsqrt": 1, "mul": 1}),
        (lambda x: x.argmax(-1), {"argmax": 1}),
        (lambda x: x.argmax(1, keepdim=True), {"permute": 1, "argmax": 1, "reshape": 1}),
        (lambda x: x.argmax(), {"reshape": 1, "argmax": 1}),
        (lambda x: x.argmin(-1), {"neg": 1, "argmax": 1}),
        (lambda x: x.var(-1), {"mean": 2, "sub": 1, "square": 1, "mul": 1}),
        (lambda x: x.var(-1, unbiased=False, keepdim=True), {"mean": 2, "sub": 1, "square": 1}),
    ],
)
def test_a_reduction(function, expected):
    assert calls(lowered(function, X)) == expected


def test_other_norms_are_refused():
    with pytest.raises(UnsupportedOp, match="the norm of order 1 has no private form"):
        lower(captured(lambda x: x.norm(p=1, dim=-1), X))


def test_the_variance_of_one_value_is_refused():
    with pytest.raises(UnsupportedOp, match="variance of one value"):
        lower(captured(lambda x: x.var(-1), seeded(2, 1)))
