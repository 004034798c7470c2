"""Token ids that are no row of the table are refused, not looked up as zeros."""

from __future__ import annotations

import pytest
import torch

from mpccompile.errors import InputError
from mpccompile.runtime import functions, ring
from mpccompile.runtime.shared import ClientValue, StaticWeight
from tests.runtime.pair import opened, run_call, run_pair, share


@pytest.mark.parametrize("wrong", [-1, 20, 100000])
def test_an_id_outside_the_table_is_refused(wrong: int) -> None:
    table = StaticWeight("table", ring.encode(torch.ones(20, 4), 16), 16)
    ids = torch.tensor([[0, wrong]])
    with pytest.raises(InputError, match="outside the table of 20 rows"):
        run_pair(functions.embedding.__wrapped__, ClientValue(ids), table)


@pytest.mark.parametrize("rows", [1, 2, 5, 64, 100])
@pytest.mark.parametrize("kind", ["weight", "public"])
def test_rows_at_ids_that_nobody_knows_are_those_of_the_table(rows: int, kind: str) -> None:
    numbers = torch.randn(rows, 3, generator=torch.Generator().manual_seed(1))
    table = StaticWeight("table", ring.encode(numbers, 20), 20) if kind == "weight" else numbers
    ids = torch.arange(rows).repeat(8).reshape(8, rows)
    outcome = run_call(functions.embedding, share(ids, 0), table)
    assert float((opened(outcome.results) - numbers[ids]).abs().max()) <= 2.0**-15


def test_an_id_that_nobody_knows_costs_its_bits_and_a_one_hot_row_once() -> None:
    table = StaticWeight("table", ring.encode(torch.ones(1000, 4), 16), 16)
    outcome = run_call(lambda ids, w: functions.embedding(ids, w, bound=1.0), share(torch.tensor([7]), 0), table)
    bits, row = 10, 1000
    sent = [channel.bytes_sent for channel in outcome.channels]
    truncation = 3 * 4
    assert sent == [-(-bits // 8) + truncation, -(-bits // 8) + 3 * row + truncation]
