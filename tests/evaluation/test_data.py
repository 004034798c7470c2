from __future__ import annotations

import numpy as np
import pytest
import torch

from mpccompile.errors import InputError
from mpccompile.evaluation.data import Dataset

X, Y = torch.arange(10.0).reshape(5, 2), torch.arange(5)


def test_batches_of_both_kinds_are_joined():
    pairs = [({"x": X[:2]}, Y[:2]), ({"x": X[2:]}, Y[2:])]
    dicts = [{"x": X[:3].numpy(), "labels": Y[:3].numpy()}, {"x": X[3:].numpy(), "labels": np.array([3, 4])}]
    for data in ({"x": X, "labels": Y}, pairs, iter(dicts)):
        dataset = Dataset.of(data)
        assert torch.equal(dataset.inputs["x"], X)
        assert torch.equal(dataset.labels, Y)
        assert Dataset.of(dataset) is dataset


def test_the_last_batch_is_filled_up():
    batches = list(Dataset({"x": X}, Y).batches(3))
    assert [count for _batch, count in batches] == [3, 2]
    assert batches[1][0]["x"].tolist() == [[6.0, 7.0], [8.0, 9.0], [6.0, 7.0]]


def test_a_limit_takes_the_first():
    dataset = Dataset({"x": X}, Y)
    assert torch.equal(dataset.limited(2).inputs["x"], X[:2])
    assert dataset.limited(None) is dataset
    assert dataset.limited(9) is dataset


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"x": X}, "no labels, it holds x"),
        ({"labels": Y}, "labels and no input"),
        ({"x": X[:4], "labels": Y}, "input x has 4 rows, there are 5 labels"),
        ({"x": X, "labels": Y.float()}, "the labels are torch.float32"),
        ({"x": X, "labels": X.long()}, r"of shape \[5, 2\]"),
        ({"x": X[:0], "labels": Y[:0]}, "no example"),
        ([], "no batch"),
        ([X], "a batch of type Tensor"),
        ([({"x": X}, Y), ({"z": X}, Y)], "batch 1 holds z"),
        ([({"x": X}, Y), ({"x": X[:, :1]}, Y)], "do not fit together"),
        (3, "of type int"),
        ("data.npz", "of type str"),
    ],
)
def test_what_is_no_data_is_said(data, said):
    with pytest.raises(InputError, match=said):
        Dataset.of(data)
