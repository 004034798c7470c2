"""Convolutions over images, and over sequences as images of height 1."""

from __future__ import annotations

import pytest
from torch.nn import functional

from mpccompile.errors import UnsupportedOp
from mpccompile.lowering.lower import lower
from tests.lowering.programs import calls, captured, lowered, seeded

IMAGE, TEXT = seeded(2, 4, 8, 6), seeded(2, 4, 7)
W2, W1, B = seeded(6, 4, 3, 3), seeded(6, 4, 3), seeded(6)


@pytest.mark.parametrize(
    ("function", "x", "weights"),
    [
        (functional.conv2d, IMAGE, {"weight": W2}),
        (lambda x, w, b: functional.conv2d(x, w, b, stride=2, padding=(1, 0)), IMAGE, {"w": W2, "b": B}),
        (lambda x, w: functional.conv2d(x, w, groups=2, dilation=2), IMAGE, {"w": W2[:, :2]}),
        (lambda x, w: functional.conv2d(x, w, padding="same"), IMAGE, {"w": W2}),
        (lambda x, w, b: functional.conv1d(x, w, b, stride=2, padding=1), TEXT, {"w": W1, "b": B}),
        (lambda x, w: functional.conv1d(x, w, padding="same", dilation=2), TEXT, {"w": W1}),
    ],
)
def test_a_convolution(function, x, weights):
    assert calls(lowered(function, x, **weights))["conv2d"] == 1


@pytest.mark.parametrize(
    ("function", "x", "weight", "text"),
    [
        (lambda x, w: functional.conv2d(x[0], w), IMAGE, W2, "no batch dim"),
        (lambda x, w: functional.conv2d(x, w, padding="same"), IMAGE, W2[..., :2], "even kernel"),
        (lambda x, w: functional.conv3d(x[None], w), IMAGE, seeded(2, 2, 2, 2, 2), "over 3 dims"),
        (lambda x, w: functional.conv_transpose2d(x, w, None), IMAGE, seeded(4, 2, 3, 3), "a transposed convolution"),
    ],
)
def test_uncommon_convolutions_are_refused(function, x, weight, text):
    with pytest.raises(UnsupportedOp, match=text):
        lower(captured(function, x, w=weight))
