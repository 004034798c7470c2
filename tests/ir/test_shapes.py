"""Shapes of results, before there is a call."""

from __future__ import annotations

import pytest

from mpccompile.ir.shapes import broadcast, product


@pytest.mark.parametrize(
    ("left", "right", "shape"),
    [((2, 1), (3,), (2, 3)), ((), (3,), (3,)), ((2,), (3,), ()), ((4, 1, 2), (3, 1), (4, 3, 2))],
)
def test_broadcast(left, right, shape):
    assert broadcast(left, right) == shape


@pytest.mark.parametrize(
    ("left", "right", "shape"),
    [
        ((2, 3), (3, 4), (2, 4)),
        ((5, 2, 3), (3, 4), (5, 2, 4)),
        ((5, 1, 2, 3), (6, 3, 4), (5, 6, 2, 4)),
        ((2, 3), (4, 3), ()),
        ((3,), (3, 4), ()),
        ((2, 2, 3), (3, 3, 4), ()),
    ],
)
def test_product(left, right, shape):
    assert product(left, right) == shape
