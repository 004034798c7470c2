"""Folding linears changes no answer."""

from __future__ import annotations

import torch
from torch import nn

from mpccompile.merge.constant_attention import Affine, by_head, joined
from mpccompile.merge.merge_module import MergeModule, folded
from mpccompile.merge.mixing import TrainedMatrix

HEADS, LENGTH, SIZE, INNER = 4, 6, 16, 40
EXACT = {"atol": 1e-12, "rtol": 1e-12}


def parts():
    torch.manual_seed(0)
    affine = Affine(torch.randn(SIZE).double(), torch.randn(SIZE).double())
    linears = [nn.Linear(SIZE, SIZE), nn.Linear(SIZE, SIZE, bias=False), nn.Linear(SIZE, INNER)]
    matrix = TrainedMatrix(torch.ones(HEADS, LENGTH, LENGTH)).double()
    nn.init.normal_(matrix.scores)
    return affine, [linear.double() for linear in linears], matrix


def test_six_operations_compute_what_the_unfolded_layer_does():
    affine, linears, matrix = parts()
    down, norm = nn.Linear(INNER, SIZE).double(), nn.LayerNorm(SIZE).double()
    module = MergeModule(matrix, folded(affine, *linears), nn.functional.gelu, down, norm, 0)
    x = torch.randn(2, LENGTH, SIZE).double()
    # Unfolded, and with the affine where the layer has it: before the heads are mixed.
    mixed = joined(torch.matmul(matrix.rows(LENGTH), by_head(affine(x), HEADS)))
    expected = norm(down(nn.functional.gelu(linears[2](linears[1](linears[0](mixed))))))
    torch.testing.assert_close(module(x), expected, **EXACT)


def test_an_affine_commutes_with_mixing_only_because_rows_add_up_to_one():
    affine, linears, matrix = parts()
    x = torch.randn(2, LENGTH, SIZE).double()
    half = joined(torch.matmul(0.5 * matrix.rows(LENGTH), by_head(affine(x), HEADS)))
    other = joined(torch.matmul(0.5 * matrix.rows(LENGTH), by_head(x, HEADS)))
    assert not torch.allclose(linears[0](half), folded(affine, linears[0])(other))


def test_mixing_heads_does_not_commute_with_a_linear():
    _affine, linears, matrix = parts()
    x = torch.randn(2, LENGTH, SIZE).double()
    before = linears[0](joined(torch.matmul(matrix.rows(LENGTH), by_head(x, HEADS))))
    after = joined(torch.matmul(matrix.rows(LENGTH), by_head(linears[0](x), HEADS)))
    assert not torch.allclose(before, after, atol=1e-2)


def test_a_single_linear_without_bias_is_kept():
    linear = nn.Linear(SIZE, INNER, bias=False).double()
    x = torch.randn(3, SIZE).double()
    torch.testing.assert_close(folded(None, linear)(x), linear(x), **EXACT)
