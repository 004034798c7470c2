"""Data sets in every form, and what does not fit."""

from __future__ import annotations

import re

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import mpccompile
from mpccompile.distill.data import NO_LABEL, Table, check_labels, read
from mpccompile.errors import DataError, InputError, MpcCompileError
from tests import models


@pytest.fixture(scope="module")
def program():
    return mpccompile.program(*models.bert(padding_mask=True))


def row(index=0, **changes):
    ids = torch.full((models.LENGTH,), 5 + index)
    return {"input_ids": ids, "attention_mask": torch.ones(models.LENGTH, dtype=torch.long), "labels": 1} | changes


class Rows(Dataset):
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return row(index)


def generator():
    for size in (2, 1):
        yield {name: torch.stack([torch.as_tensor(row()[name])] * size) for name in row()}


@pytest.mark.parametrize(
    "data",
    [
        Rows(3),
        [row(), row(), row()],
        [{name: value.tolist() if hasattr(value, "tolist") else value for name, value in row().items()}] * 3,
        DataLoader(Rows(3), batch_size=2),
        generator(),
        {name: torch.stack([torch.as_tensor(row()[name])] * 3) for name in row()},
    ],
    ids=["dataset", "rows", "lists", "loader", "generator", "columns"],
)
def test_every_form_is_read(program, data):
    table = read(data, program)
    assert len(table) == 3
    assert table.inputs["input_ids"].shape == (3, models.LENGTH)
    assert table.labels.tolist() == [1, 1, 1]


def test_labels_may_be_absent(program):
    rows = [{name: value for name, value in row().items() if name != "labels"}]
    assert read(rows, program).labels is None
    with pytest.raises(DataError, match=r"only some rows have labels at data\[1\]"):
        read([row(), rows[0]], program)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "there are no rows at data"),
        (7, "a int is no data set"),
        ([(1, 2)], r"an item is a tuple, not a dict at data\[0\]"),
        ([row(), {"input_ids": row()["input_ids"]}], r"input attention_mask is missing at data\[1\]"),
        ([row(idx=3)], r"there is no input idx at data\[0\]"),
        ([row(input_ids=torch.zeros(4, dtype=torch.long))], r"input input_ids has shape \[4\], .* of shape \[6\]"),
        ([row(input_ids=torch.zeros(2, 2, 2, dtype=torch.long))], "input input_ids has shape"),
        ([row(input_ids=torch.zeros(6))], "input input_ids has dtype torch.float32"),
        ([row(input_ids="text")], "input_ids is no tensor but a str"),
        ([row(), row(input_ids=torch.full((6,), models.VOCAB))], r"an id outside 0..59 at row 1 of data"),
        ([row(), row(input_ids=torch.full((6,), -1))], r"an id outside 0..59 at row 1 of data"),
        ([row(labels=float("nan"))], "labels hold NaN"),
    ],
)
def test_what_does_not_fit_is_named(program, data, message):
    with pytest.raises(DataError, match=message):
        read(data, program)


def test_batches_of_unequal_columns_are_named(program):
    batch = {name: torch.stack([torch.as_tensor(row()[name])] * 3) for name in row()}
    batch["labels"] = batch["labels"][:2]
    with pytest.raises(DataError, match="labels has 2 rows, input_ids 3"):
        read(batch, program)


def test_numbers_that_are_none_are_named():
    model, inputs = models.vit()
    program = mpccompile.program(model, inputs)
    pixels = torch.zeros(3, 3, 8, 8)
    pixels[2, 0, 0, 0] = torch.nan
    with pytest.raises(DataError, match="pixel_values holds NaN or infinity at row 2 of data"):
        read({"pixel_values": pixels}, program)


def test_an_error_of_data_is_an_error_of_input():
    assert issubclass(DataError, InputError)
    assert issubclass(DataError, MpcCompileError)


@pytest.mark.parametrize(
    ("labels", "regression", "message"),
    [
        (None, False, "there are no labels"),
        (torch.tensor([0, 3]), False, r"a class outside 0..2 at row 1"),
        (torch.tensor([0.0, 1.0]), False, "not numbers of classes"),
        (torch.zeros(2, 2, dtype=torch.long), False, re.escape("labels have shape [2] a row")),
        (torch.zeros(2, 2), True, re.escape("labels have shape [2] a row")),
    ],
)
def test_labels_that_do_not_fit_are_named(labels, regression, message):
    with pytest.raises(DataError, match=message):
        check_labels(Table({"x": torch.zeros(2, 1)}, labels), (2, 3), regression=regression, what="data")


def test_what_has_no_label_is_a_label():
    check_labels(Table({"x": torch.zeros(2, 1)}, torch.tensor([NO_LABEL, 2])), (2, 3), regression=False, what="data")


def test_a_split_shares_no_row():
    table = Table({"x": torch.arange(10.0)}, None)
    kept, held = table.split(0.3, seed=1)
    assert sorted([*kept.inputs["x"].tolist(), *held.inputs["x"].tolist()]) == list(range(10))
    assert len(held) == 3
    assert table.split(0.3, seed=1)[1].inputs["x"].tolist() == held.inputs["x"].tolist()
