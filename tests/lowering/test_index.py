"""Reads at public places are takes and gathers; reads at secret ones are refused."""

from __future__ import annotations

import pytest
import torch

from mpccompile.errors import UnsupportedOp
from mpccompile.lowering.lower import lower
from tests.lowering.programs import calls, captured, lowered, run, seeded

X = seeded(3, 4, 6)
ROWS, COLUMNS = torch.tensor([[0, -1], [2, 1]]), torch.tensor([1, 3])


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x[1:], {"take": 1}),
        (lambda x: x[:, -2:], {"take": 1}),
        (lambda x: x[..., ::2], {"take": 1}),
        (lambda x: x[:, :], {}),
        (lambda x: x[:, 0], {"take": 1, "reshape": 1}),
        (lambda x: x[..., -1], {"take": 1, "reshape": 1}),
        (lambda x: x.narrow(1, 1, 2), {"take": 1}),
        (lambda x: sum(x.split(2, dim=-1)), {"take": 3, "add": 2}),
        (lambda x: torch.mul(*x.split([1, 3], dim=1)), {"take": 2, "mul": 1}),
        (lambda x: torch.mul(*x.chunk(2, dim=-1)), {"take": 2, "mul": 1}),
        (lambda x: x.unbind(0)[1], {"take": 1, "reshape": 1}),
        (lambda x: x.index_select(1, COLUMNS), {"gather_rows": 1}),
        (lambda x: x[COLUMNS - 1], {"gather_rows": 1}),
        (lambda x: x[:, COLUMNS], {"gather_rows": 1}),
        (lambda x: x[ROWS], {"gather_rows": 1, "reshape": 1}),
        (lambda x: x[ROWS, COLUMNS], {"reshape": 2, "gather_rows": 1}),
        (lambda x: x[:, COLUMNS, COLUMNS], {"reshape": 1, "gather_rows": 1}),
        (lambda x: x[torch.arange(3)], {}),
        (lambda x: x.gather(1, torch.zeros(3, 2, 6).long() + COLUMNS[:, None]), {"reshape": 2, "gather_rows": 1}),
    ],
)
def test_a_read(function, expected):
    found = calls(lowered(function, X))
    assert {name: count for name, count in found.items() if count} == expected


def test_places_given_at_run_time():
    program = lowered(lambda x, y: x[y] + x.gather(1, y.view(3, 1, 1)), X, torch.tensor([0, 1, 2]), public="y")
    other = torch.tensor([2, 2, 1])
    expected = X[other] + X.gather(1, other.view(3, 1, 1))
    assert torch.equal(run(program, x=X, y=other)[0], expected)


@pytest.mark.parametrize(
    "function", [lambda x, y: x[y], lambda x, y: x.gather(1, y.view(3, 1, 1)), lambda x, y: x.index_select(0, y)]
)
def test_secret_places_are_refused(function):
    with pytest.raises(UnsupportedOp, match="reading at a secret place"):
        lower(captured(function, X, torch.tensor([0, 1, 2])))


def test_indexed_dims_that_are_apart_are_refused():
    with pytest.raises(UnsupportedOp, match="not neighbours"):
        lower(captured(lambda x: x[COLUMNS - 1, :, COLUMNS], X))
