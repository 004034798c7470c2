"""Made-up inputs look like real ones, and arrays become batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import helper

from mpccompile.capture.from_onnx.examples import from_arrays, made_up
from mpccompile.capture.from_onnx.model import OnnxModel
from mpccompile.errors import InputError
from tests.capture.from_onnx.cases import FLOAT, INT64, file_of

NAMES = ("input_ids", "attention_mask", "position_ids", "token_type_ids")


@pytest.fixture
def model(tmp_path):
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["cast"], to=INT64),
        helper.make_node("Gather", ["words", "cast"], ["a"]),
        helper.make_node("Gather", ["places", "position_ids"], ["b"]),
        helper.make_node("Gather", ["kinds", "token_type_ids"], ["c"]),
        helper.make_node("Cast", ["attention_mask"], ["m"], to=FLOAT),
        helper.make_node("Unsqueeze", ["m", "last"], ["d"]),
        helper.make_node("Sum", ["a", "b", "c", "d", "x"], ["y"]),
    ]
    inputs = {name: ["batch", "length"] for name in NAMES} | {"x": ["batch", "length", 2]}
    tables = {"words": 40, "places": 6, "kinds": 2}
    stored = {name: np.ones((rows, 2), dtype=np.float32) for name, rows in tables.items()}
    types = dict.fromkeys(NAMES, INT64)
    path = file_of(tmp_path / "m.onnx", nodes, inputs, ["y"], {**stored, "last": np.array([-1])}, types=types)
    return OnnxModel.read(path)


def test_made_up_inputs_fit_their_tables(model):
    batches = made_up(model, {"batch": 3, "length": 5}, count=2)
    assert len(batches) == 2
    first, second = batches
    ids = first["input_ids"]
    assert ids.shape == (3, 5)
    assert 0 <= ids.min() < 10
    assert 30 < ids.max() < 40
    assert not torch.equal(ids, second["input_ids"])
    assert torch.equal(first["attention_mask"], torch.ones(3, 5, dtype=torch.int64))
    assert torch.equal(first["position_ids"], torch.arange(5).expand(3, 5))
    assert not first["token_type_ids"].any()
    assert 0.5 < float(first["x"].std()) < 2
    assert model(**first)["y"].shape == (3, 5, 2)


def arrays(rows=7, length=5):
    return {**{name: torch.zeros(rows, length, dtype=torch.int64) for name in NAMES}, "x": torch.randn(rows, length, 2)}


def test_rows_of_arrays_become_batches(model):
    given = arrays()
    batches = from_arrays(model, {"batch": 2}, {**given, "labels": torch.zeros(7)})
    assert [batch["x"].shape for batch in batches] == [(2, 5, 2)] * 3
    assert torch.equal(batches[1]["x"], given["x"][2:4])


def test_an_open_first_dim_is_one_row(model):
    batches = from_arrays(model, {}, arrays())
    assert len(batches) == 7
    assert batches[0]["x"].shape == (1, 5, 2)


@pytest.mark.parametrize(
    ("shapes", "given", "message"),
    [
        ({"batch": 2}, {"x": torch.zeros(1)}, "input input_ids, attention_mask, .* is missing at --data.* holds x"),
        ({"batch": 1, "length": 4}, arrays(), r"input input_ids has shape \[7, 5\] in the data, a call takes \[1, 4\]"),
        ({"batch": 8, "length": 5}, arrays(), r"a call takes \[8, 5\]"),
        ({}, {}, r"is missing at --data. The file holds nothing\."),
        (
            {},
            {**arrays(), "input_ids": torch.ones(7, 5)},
            "input_ids is float32 in the data, and the model takes int64",
        ),
        ({}, {**arrays(), "x": torch.ones(7, 5, 2, dtype=torch.complex64)}, "x is complex64 in the data, .* float32"),
    ],
)
def test_arrays_that_do_not_fit_are_told(model, shapes, given, message):
    with pytest.raises(InputError, match=message):
        from_arrays(model, shapes, given)


def test_whole_numbers_do_where_a_model_takes_others(model):
    given = arrays() | {"x": torch.ones(7, 5, 2, dtype=torch.int32), "attention_mask": torch.ones(7, 5) > 0}
    first = from_arrays(model, {}, given)[0]
    assert (first["x"].dtype, first["attention_mask"].dtype) == (torch.float32, torch.int64)
