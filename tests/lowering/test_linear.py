"""A product with a weight is a linear, however the weight is stored."""

from __future__ import annotations

import torch
from torch.nn import functional

from tests.lowering.programs import calls, lowered, seeded

X, W, B = seeded(2, 3), seeded(4, 3, seed=1), seeded(4, seed=2)


def test_linear_with_and_without_bias():
    assert calls(lowered(functional.linear, X, weight=W, bias=B)) == {"linear": 1}
    assert calls(lowered(functional.linear, X, weight=W)) == {"linear": 1}


def test_a_weight_stored_the_other_way_round_is_turned_once():
    def function(x, w, b):
        return torch.addmm(b, x, w) + torch.addmm(b, 2 * x, w)

    program = lowered(function, X, w=W.t().contiguous(), b=B)
    assert calls(program) == {"mul": 1, "linear": 2, "add": 1}
    assert program.secret_attributes == {"w_transposed", "b"}


def test_a_single_row_that_is_turned_has_memory_of_its_own():
    w = seeded(1, 3)
    program = lowered(torch.mm, seeded(2, 1), mat2=w)
    assert program.secret_attributes == {"mat2_transposed"}
    assert program.module.mat2_transposed.data_ptr() != w.data_ptr()


def test_a_product_with_a_transposed_weight_is_a_linear():
    assert calls(lowered(lambda x, w: x @ w.t(), X, w=W)) == {"linear": 1}
    assert calls(lowered(torch.mm, X, mat2=W.t().contiguous())) == {"linear": 1}


def test_products_of_two_values_are_matmuls():
    y = seeded(3, 4)
    assert calls(lowered(torch.mm, X, y)) == {"matmul": 1}
    assert calls(lowered(torch.matmul, seeded(2, 5, 3), y)) == {"matmul": 1}
    assert calls(lowered(torch.bmm, seeded(2, 5, 3), seeded(2, 3, 4))) == {"matmul": 1}
    assert (
        calls(lowered(lambda x, y: torch.einsum("bij,bjk->bik", x, y), seeded(2, 5, 3), seeded(2, 3, 4)))["matmul"] == 1
    )


def test_a_product_with_a_public_table_is_a_matmul():
    table = seeded(3, 4)
    program = lowered(lambda x: x @ table, X)
    assert calls(program) == {"matmul": 1}
    assert not program.secret_attributes
    bias = seeded(4)
    assert calls(lowered(lambda x, b: torch.addmm(b, x, table), X, b=bias)) == {"matmul": 1, "add": 1}
    weighed = lowered(lambda x, b: functional.linear(x, table.t().contiguous(), b), X, b=bias)
    assert calls(weighed) == {"matmul": 1, "add": 1}


def test_scaled_sums_of_products():
    def function(x, y, z):
        return torch.addmm(z, x, y, beta=0.5, alpha=2.0)

    assert calls(lowered(function, X, seeded(3, 4), seeded(4))) == {"matmul": 1, "mul": 2, "add": 1}
    assert calls(lowered(torch.baddbmm, seeded(2, 1, 4), seeded(2, 5, 3), seeded(2, 3, 4))) == {"matmul": 1, "add": 1}
