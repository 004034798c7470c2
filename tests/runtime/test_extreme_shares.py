"""Every operation is right however its operands are split: one party's share may be any word there is."""

from __future__ import annotations

import pytest
import torch

from mpccompile.runtime import ring
from mpccompile.runtime.shared import Shared
from tests.runtime import function_cases as functions
from tests.runtime.pair import run_call, values

SPLITS = {"zero": 0, "all ones": -1, "lowest": -(1 << 63), "highest": (1 << 63) - 1, "half": 1 << 62}
ONE_OF_EACH = list({case.op: case for case in reversed(functions.CASES)}.values())


def split(arg, word):
    """Return an operand of a case, secrets split so that party 1 holds ``word`` of every element."""
    if isinstance(arg, list):
        return [split(item, word) for item in arg]
    if not isinstance(arg, functions.Secret):
        return functions.private(arg)
    value = ring.encode(arg.plain, functions.FRAC_BITS)
    held = torch.full_like(value, word)
    return Shared(value - held, functions.FRAC_BITS), Shared(held, functions.FRAC_BITS)


@pytest.mark.parametrize("name", SPLITS)
@pytest.mark.parametrize("case", ONE_OF_EACH, ids=str)
def test_a_protocol_is_right_at_the_extremes_of_its_shares(case, name):
    outcome = run_call(case.program(), *(split(arg, SPLITS[name]) for arg in case.args))
    gap = (values(outcome.results) - case.exact()).abs()
    assert float(gap.max() if gap.numel() else 0.0) <= case.bound
