"""Data sets in every form, and what does not fit."""

from __future__ import annotations

import re

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import mpccompile
from mpccompile.data.checks import check_labels, expect_classes, expect_one_class_a_row
from mpccompile.data.read import read as read_table
from mpccompile.data.table import NO_LABEL, Named, Table
from mpccompile.distill.data import read
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
        ([row(text="some")], r"there is no input text at data\[0\]"),
        ([row(label=3)], r"there is no input label at .* Rename label to labels"),
        ([row(input_ids=torch.zeros(4, dtype=torch.long))], r"input input_ids has shape \[4\], .* of shape \[6\]"),
        ([row(input_ids=torch.zeros(2, 2, 2, dtype=torch.long))], "input input_ids has shape"),
        ([row(input_ids=torch.zeros(6))], "input input_ids has dtype torch.float32"),
        ([row(input_ids="text")], "input_ids is no tensor but a str"),
        ([row(), row(input_ids=torch.full((6,), models.VOCAB))], r"holds 60, an id outside 0..59 at row 1 of data"),
        ([row(), row(input_ids=torch.full((6,), -1))], r"holds -1, an id outside 0..59 at row 1 of data"),
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
        (torch.tensor([0, 3]), False, r"hold 3, a class outside 0..2 at row 1 of rows.npz"),
        (torch.tensor([0.0, 1.0]), False, "not numbers of classes"),
        (torch.zeros(2, 2, dtype=torch.long), False, re.escape("labels have shape [2] a row")),
        (torch.zeros(2, 2), True, re.escape("labels have shape [2] a row")),
    ],
)
def test_labels_that_do_not_fit_are_named(labels, regression, message):
    with pytest.raises(DataError, match=message):
        check_labels(Table({"x": torch.zeros(2, 1)}, labels, "rows.npz"), (2, 3), regression=regression)


def test_what_has_no_label_is_a_label():
    check_labels(Table({"x": torch.zeros(2, 1)}, torch.tensor([NO_LABEL, 2])), (2, 3), regression=False)


def test_a_split_shares_no_row():
    table = Table({"x": torch.arange(10.0)}, None)
    kept, held = table.split(0.3, seed=1)
    assert sorted([*kept.inputs["x"].tolist(), *held.inputs["x"].tolist()]) == list(range(10))
    assert len(held) == 3
    assert table.split(0.3, seed=1)[1].inputs["x"].tolist() == held.inputs["x"].tolist()


X, Y = torch.arange(10.0).reshape(5, 2), torch.arange(5)


class Points(Dataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        return {"x": X[index], "labels": int(Y[index])}


class Pictures(Points):
    def __getitem__(self, index):
        return {"x": X[index].reshape(1, 2)}


@pytest.mark.parametrize(
    "data",
    [
        {"x": X, "labels": Y},
        [({"x": X[:2]}, Y[:2]), ({"x": X[2:]}, Y[2:])],
        iter([{"x": X[:3].double().numpy(), "labels": Y[:3].numpy()}, {"x": X[3:].numpy(), "labels": [3, 4]}]),
        Points(),
        DataLoader(Points(), batch_size=2),
        [Points()[index] for index in range(5)],
    ],
    ids=["columns", "pairs", "arrays", "dataset", "loader", "rows"],
)
def test_every_form_is_read_before_a_model_is_known(data):
    table = read_table(data)
    assert torch.equal(table.inputs["x"], X)
    assert torch.equal(table.labels, Y)
    assert torch.equal(read_table(table).inputs["x"], X)


def test_items_of_a_dataset_are_rows_without_labels_too():
    assert read_table(Pictures()).inputs["x"].shape == (5, 1, 2)
    assert read_table([{"x": X[:2]}, {"x": X[2:]}]).inputs["x"].shape == (5, 2)


def test_the_last_batch_is_filled_up():
    batches = list(Table({"x": X}, Y).batches(3))
    assert [count for _batch, count in batches] == [3, 2]
    assert batches[1][0]["x"].tolist() == [[6.0, 7.0], [8.0, 9.0], [6.0, 7.0]]


def test_a_limit_takes_the_first():
    table = Table({"x": X}, Y)
    assert torch.equal(table.limited(2).inputs["x"], X[:2])
    assert table.limited(None) is table
    assert table.limited(9) is table


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"labels": Y}, "there are labels and no inputs at data"),
        ({"x": X[:4], "labels": Y}, "labels has 5 rows, x 4"),
        ({"x": X[:0], "labels": Y[:0]}, "there are no rows"),
        ([], "there are no rows"),
        ([X], r"an item is a Tensor, not a dict at data\[0\]"),
        ([({"x": X}, Y), ({"z": X}, Y)], r"there is z, labels, in the first rows x, labels at data\[1\]"),
        ([({"x": X}, Y), ({"x": X[:, :1]}, Y)], r"x has shape \[1\] a row, in the first rows \[2\] at data\[1\]"),
        ([({"x": X}, Y), {"x": X}], r"only some rows have labels at data\[1\]"),
        ({"x": [[1.0], [1.0, 2.0]]}, "x is no tensor but a list"),
        ("data.npz", "a str is no data set"),
        (None, "a NoneType is no data set"),
        (Named({"x": X.clone().fill_(torch.nan)}, "test.npz"), "input x holds NaN or infinity at row 0 of test.npz"),
        (Named([], "test.npz"), "there are no rows at test.npz"),
    ],
)
def test_what_is_no_data_is_told_before_a_model_is_known(data, said):
    with pytest.raises(DataError, match=said):
        read_table(data)


def failing():
    yield row()
    raise ZeroDivisionError("by the tokenizer\nand more")


class Broken(Rows):
    def __getitem__(self, index):
        return {}["text"] if index == 1 else row()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (failing(), "fails with ZeroDivisionError: by the tokenizer at item 1 of data. Go through it alone"),
        (Broken(3), r"fails with KeyError: 'text' at data\[1\]"),
        (DataLoader(Broken(3)), r"fails with KeyError: 'text' at item 1 of data"),
    ],
    ids=["generator", "dataset", "loader"],
)
def test_an_error_of_the_data_set_is_told_as_its_own(program, data, said):
    for specs in ((), program.inputs):
        if not hasattr(data, "__len__") and specs:
            continue
        with pytest.raises(DataError, match=said) as raised:
            read_table(data, specs)
        assert isinstance(raised.value.__cause__, ZeroDivisionError | KeyError)


@pytest.mark.parametrize(
    ("labels", "said"),
    [(None, "there are no labels, only x"), (Y.float(), "labels are torch.float32"), (X.long(), r"of shape \[5, 2\]")],
)
def test_a_classification_has_one_class_a_row(labels, said):
    with pytest.raises(DataError, match=said):
        expect_one_class_a_row(Table({"x": X}, labels))


def test_what_has_no_label_is_no_class_of_an_evaluation():
    with pytest.raises(DataError, match=r"hold -100, a class outside 0..4 at row 1"):
        expect_classes(Table({"x": X}, torch.tensor([0, -100, 1, 1, 1])), 5)
