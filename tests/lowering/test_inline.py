"""A call without a rule is lowered as the simpler calls it is made of."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from mpccompile.errors import UnsupportedOp
from mpccompile.ir.program import origin_of
from mpccompile.lowering.lower import lower
from tests.lowering.programs import calls, captured, lowered, name_of, seeded

X = seeded(2, 4, 6)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (functional.glu, {"take": 2, "sigmoid": 1, "mul": 1}),
        (lambda x: torch.einsum("bij,bkj->bik", x, x), {"matmul": 1}),
        (lambda x: torch.addcmul(x, x, x, value=2), {"mul": 2, "add": 1}),
        (lambda x: x.std(-1), {"rsqrt": 1}),
        (lambda x: functional.avg_pool1d(x, 2), {"avg_pool2d": 1}),
        (lambda x: x.tensor_split(2, -1)[1], {"take": 1}),
        (lambda x: x.tril(), {"where": 1}),
        (functional.hardswish, {"relu": 2}),
    ],
)
def test_a_call_made_of_simpler_ones(function, expected):
    assert expected.items() <= calls(lowered(function, X)).items()


def test_the_parts_come_from_where_the_call_came_from():
    program = lowered(functional.glu, X)
    found = {str(origin_of(node)) for node in program.graph.nodes if node.op == "call_function"}
    (call,) = [node for node in captured(functional.glu, X).graph.nodes if name_of(node) == "aten.glu.default"]
    assert found == {str(origin_of(call))}


def test_a_part_without_a_rule_is_named():
    with pytest.raises(UnsupportedOp, match=r"aten.log1p.default at .*: there is no rule for it"):
        lower(captured(functional.softplus, X))
