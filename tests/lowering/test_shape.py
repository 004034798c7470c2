"""Moves of elements keep their order, whatever torch calls them."""

from __future__ import annotations

import pytest
import torch

from mpccompile.errors import UnsupportedOp
from mpccompile.lowering.lower import lower
from tests.lowering.programs import calls, captured, lowered, seeded

X = seeded(2, 3, 4)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x.view(6, -1), {"reshape": 1}),
        (lambda x: x.reshape(2, 12), {"reshape": 1}),
        (lambda x: x.flatten(1), {"reshape": 1}),
        (lambda x: x.unflatten(2, (2, 2)), {"reshape": 1}),
        (lambda x: x.unsqueeze(1), {"reshape": 1}),
        (lambda x: x.view(2, 3, 4), {}),
        (lambda x: x.contiguous().clone(), {}),
        (lambda x: x.to(torch.float32), {}),
        (lambda x: x.transpose(-1, 0), {"permute": 1}),
        (lambda x: x.permute(0, -1, 1), {"permute": 1}),
        (lambda x: x.permute(0, 1, 2), {}),
        (lambda x: x.transpose(1, 1), {}),
        (lambda x: x.mT, {"permute": 1}),
        (lambda x: x.expand(5, 2, 3, 4), {"expand": 1}),
        (lambda x: x.repeat(2, 1, 3), {"reshape": 2, "expand": 1}),
        (lambda x: x.repeat_interleave(2, dim=1), {"reshape": 2, "expand": 1}),
        (lambda x: torch.cat([x, x], -1), {"concat": 1}),
        (lambda x: torch.cat([x, torch.zeros(2, 3, 1)], -1), {"concat": 1}),
        (lambda x: torch.stack([x, x], 1), {"reshape": 2, "concat": 1}),
        (lambda x: x.flip(1), {"gather_rows": 1}),
        (lambda x: torch.nn.functional.pad(x, (1, 2)), {"concat": 1}),
        (lambda x: torch.nn.functional.pad(x, (-1, 2), value=3.0), {"take": 1, "concat": 1}),
    ],
)
def test_a_move(function, expected):
    assert calls(lowered(function, X)) == expected


def test_squeezes_and_transposed_matrices():
    assert calls(lowered(lambda x: x.squeeze(), seeded(1, 3, 1))) == {"reshape": 1}
    assert calls(lowered(lambda x: x.squeeze(1), seeded(1, 3, 1))) == {}
    assert calls(lowered(lambda x: x.t(), seeded(3, 2))) == {"permute": 1}


def test_padding_by_reflection_is_refused():
    with pytest.raises(UnsupportedOp):
        lower(captured(lambda x: torch.nn.functional.pad(x, (1, 1), mode="reflect"), X))
