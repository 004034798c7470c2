"""Logic on secret masks is arithmetic on 0 and 1, and on nothing else."""

from __future__ import annotations

import pytest
import torch

from mpccompile.errors import UnsupportedOp
from mpccompile.lowering.lower import lower
from tests.lowering.programs import calls, captured, lowered, seeded

SCORES, MASK = seeded(2, 3, 3), torch.tensor([[True, True, False], [True, False, False]])
CAUSAL = torch.ones(3, 3).tril().bool()


def masked(x, keep):
    return torch.where(keep, x, -torch.inf).softmax(-1)


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        (lambda m: m[:, None, :], {}),
        (lambda m: m[:, None, :] & CAUSAL, {"mul": 1}),
        (lambda m: CAUSAL.logical_and(m[:, None, :]), {"mul": 1}),
        (lambda m: m[:, None, :] & m[:, None, :].expand(2, 3, 3), {"expand": 1, "mul": 1}),
        (lambda m: ~(~m[:, None, :]), {"mul": 1, "sub": 2}),
        (lambda m: m[:, None, :].logical_not() == 0, {"mul": 1, "sub": 2}),
        (lambda m: m[:, None, :].int() == 1, {}),
        (lambda m: m[:, None, :].float() != 0, {}),
        (lambda m: m[:, None, :] | ~CAUSAL.flip(0), {"add": 1, "mul": 1, "sub": 1}),
    ],
)
def test_a_secret_mask(keep, expected):
    found = calls(lowered(lambda x, y: masked(x, keep(y)), SCORES, MASK))
    assert {name: count for name, count in found.items() if name not in {"softmax", "reshape"}} == expected
    assert found["softmax"] == 1


def test_a_secret_mask_that_is_written_over_scores():
    function = lambda x, y: x.masked_fill(~y[:, None, :], -1e9).softmax(-1)  # noqa: E731 - as in the other tests
    assert calls(lowered(function, SCORES, MASK))["softmax"] == 1
    added = lambda x, y: (x + torch.where(y[:, None, :], 0.0, -1e9)).softmax(-1)  # noqa: E731 - as in the other tests
    assert "add" not in calls(lowered(added, SCORES, MASK))


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda x: (x == 1).float() * x, "a comparison of secret values"),
        (lambda x: x.masked_fill((x > 0), -torch.inf).softmax(-1), "aten.gt.Scalar"),
        (lambda x: torch.logical_not(x).float(), "a comparison of secret values"),
    ],
)
def test_comparisons_of_values_are_refused(function, text):
    with pytest.raises(UnsupportedOp, match=text):
        lower(captured(function, SCORES))


def test_a_secret_mask_compared_with_another_number_is_refused():
    with pytest.raises(UnsupportedOp, match="compared with 2"):
        lower(captured(lambda x, y: masked(x, y[:, None, :].int() == 2), SCORES, MASK))
