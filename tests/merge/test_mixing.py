"""Constant matrices weigh what came before, and nothing else."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache

from mpccompile.errors import InputError
from mpccompile.merge.mixing import FixedMatrix, TrainedMatrix, mixed

HEADS, LENGTH, BATCH, SIZE = 3, 8, 2, 5


def random_matrix():
    matrix = TrainedMatrix(torch.ones(HEADS, LENGTH, LENGTH))
    torch.manual_seed(0)
    torch.nn.init.normal_(matrix.scores)
    return matrix


@pytest.mark.parametrize("length", [1, 5, LENGTH, None])
def test_rows_add_up_to_one_and_do_not_look_ahead(length):
    rows = random_matrix().rows(length)
    size = length or LENGTH
    assert rows.shape == (HEADS, size, size)
    torch.testing.assert_close(rows.sum(-1), torch.ones(HEADS, size))
    assert not bool(rows.triu(1).any())
    assert bool((rows.tril() > 0).sum() == HEADS * size * (size + 1) // 2)


def test_a_matrix_starts_from_the_weights_it_is_given():
    weights = random_matrix().rows().detach()
    torch.testing.assert_close(TrainedMatrix(weights).rows(), weights, atol=1e-5, rtol=0)


def test_each_head_mixes_the_rows_before_by_its_own_weights():
    matrix, values = random_matrix(), torch.randn(BATCH, HEADS, 6, SIZE)
    found, rows = mixed(matrix, values, 0), matrix.rows()
    # Rows of a longer matrix, cut off and normalised anew: softmax over fewer columns.
    for head in range(HEADS):
        for row in range(6):
            weights = rows[head, row, : row + 1]
            expected = (weights.unsqueeze(1) * values[:, head, : row + 1]).sum(1)
            torch.testing.assert_close(found[:, head, row], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", [None, True, False])
def test_rows_after_a_cache_are_those_of_the_whole_text(kind):
    trained = random_matrix()
    matrix = trained if kind is None else FixedMatrix(trained.rows().detach(), public=kind)
    values, cache = torch.randn(BATCH, HEADS, 7, SIZE), DynamicCache()
    whole = mixed(matrix, values, 0)
    parts = [mixed(matrix, values[:, :, :3], 0, cache)]
    for position in range(3, 7):
        places = torch.full((BATCH, 1), position)
        parts.append(mixed(matrix, values[:, :, position : position + 1], 0, cache, places))
    torch.testing.assert_close(torch.cat(parts, 2), whole)


def test_what_stands_in_unfilled_rows_of_a_cache_does_not_matter():
    matrix, values, cache = random_matrix(), torch.randn(BATCH, HEADS, 4, SIZE), DynamicCache()
    filled = torch.cat([values[:, :, :3], torch.full((BATCH, HEADS, 4, SIZE), 1e6)], 2)
    cache.update(filled, filled, 0)
    last = mixed(matrix, values[:, :, 3:], 0, cache, torch.full((BATCH, 1), 3))
    torch.testing.assert_close(last, mixed(matrix, values, 0)[:, :, 3:])


def test_a_text_longer_than_the_matrix_is_refused():
    with pytest.raises(InputError, match="longer than the 8 positions"):
        mixed(random_matrix(), torch.zeros(1, HEADS, LENGTH + 1, SIZE), 0)


def test_only_a_secret_matrix_is_stored_with_the_owners_weights():
    rows = random_matrix().rows().detach()
    assert set(FixedMatrix(rows, public=False).state_dict()) == {"weights"}
    assert not FixedMatrix(rows, public=True).state_dict()
