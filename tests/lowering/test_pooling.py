"""Pooling over windows."""

from __future__ import annotations

import pytest
from torch.nn import functional

from mpccompile.errors import UnsupportedOp
from mpccompile.lowering.lower import lower
from tests.lowering.programs import calls, captured, lowered, seeded

X = seeded(2, 3, 8, 6)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: functional.max_pool2d(x, 2), {"max_pool2d": 1}),
        (lambda x: functional.max_pool2d(x, (3, 2), stride=1, padding=1), {"max_pool2d": 1}),
        (lambda x: functional.max_pool2d(x[0], 2), {"take": 1, "max_pool2d": 1, "reshape": 3}),
        (lambda x: functional.avg_pool2d(x, 2), {"avg_pool2d": 1}),
        (lambda x: functional.avg_pool2d(x, 3, stride=2, padding=1), {"avg_pool2d": 1}),
        (lambda x: functional.adaptive_avg_pool2d(x, 1), {"mean": 1}),
        (lambda x: functional.adaptive_avg_pool2d(x, (4, 3)), {"avg_pool2d": 1}),
        (lambda x: functional.adaptive_avg_pool2d(x, (8, 6)), {"avg_pool2d": 1}),
    ],
)
def test_a_pooling(function, expected):
    assert calls(lowered(function, X)) == expected


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda x: functional.max_pool2d(x, 2, dilation=2), "dilation"),
        (lambda x: functional.avg_pool2d(x, 3, padding=1, count_include_pad=False), "uncounted padding"),
        (lambda x: functional.adaptive_avg_pool2d(x, 5), "evenly"),
    ],
)
def test_uncommon_windows_are_refused(function, text):
    with pytest.raises(UnsupportedOp, match=text):
        lower(captured(function, X))
