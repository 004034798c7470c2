"""Token ids that are no row of the table are refused, not looked up as zeros."""

from __future__ import annotations

import pytest
import torch

from mpccompile.errors import InputError
from mpccompile.runtime import functions, ring
from mpccompile.runtime.shared import ClientValue, StaticWeight
from tests.runtime.pair import run_pair


@pytest.mark.parametrize("wrong", [-1, 20, 100000])
def test_an_id_outside_the_table_is_refused(wrong: int) -> None:
    table = StaticWeight("table", ring.encode(torch.ones(20, 4), 16), 16)
    ids = torch.tensor([[0, wrong]])
    with pytest.raises(InputError, match="outside the table of 20 rows"):
        run_pair(functions.embedding.__wrapped__, ClientValue(ids), table)
