"""Shapes are bound, and what is left open is named together with the flag that binds it."""

from __future__ import annotations

import pytest
import torch

from mpccompile.capture.from_onnx.graph import Axis, Value
from mpccompile.capture.from_onnx.shapes import bound_shapes, check_inputs, parse_shapes
from mpccompile.errors import InputError, OptionError

OPEN = Axis(None, "batch"), Axis(None, "length")
VALUES = (Value("input_ids", 7, OPEN), Value("mask.1", 7, OPEN), Value("fixed", 1, (Axis(2), Axis(3))))
NAMES = {"input_ids": "input_ids", "mask_1": "mask.1", "fixed": "fixed"}


def test_texts_become_shapes():
    assert parse_shapes(["input_ids=1,128", "batch=2", "x.1=3x4"]) == {
        "input_ids": [1, 128],
        "batch": [2],
        "x.1": [3, 4],
    }


@pytest.mark.parametrize("text", ["input_ids", "input_ids=", "=1", "x=a,b", "x=-1,2", "x=1,,2"])
def test_a_text_that_means_nothing_is_told(text):
    with pytest.raises(OptionError, match="is no shape"):
        parse_shapes([text])


def test_a_name_has_one_shape():
    assert parse_shapes(["x=1,2", "x=1,2"]) == {"x": [1, 2]}
    with pytest.raises(OptionError, match="x has two shapes"):
        parse_shapes(["x=1,2", "x=1,3"])


@pytest.mark.parametrize(
    "given", [{"input_ids": (1, 5)}, {"mask.1": (1, 5)}, {"mask_1": (1, 5)}, {"batch": 1, "length": [5]}]
)
def test_a_dim_with_a_name_is_bound_once_for_all(given):
    assert bound_shapes(VALUES, NAMES, given) == {"input_ids": (1, 5), "mask_1": (1, 5), "fixed": (2, 3)}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"dim 0 \(batch\), dim 1 \(length\) of input input_ids is open .*--input-shape input_ids=SIZE,SIZE"),
        ({"batch": 1}, r"dim 1 \(length\) of input input_ids is open in the file.* --input-shape input_ids=1,SIZE"),
        ({"input_ids": (1, 2, 3)}, "input_ids has 2 dims in the file, the shape given has 3"),
        ({"fixed": (2, 4)}, "dim 1 of input fixed is 3, the shape given says 4"),
        (
            {"input_ids": (1, 5), "mask.1": (1, 6)},
            "dim 1, length, of input mask.1 is 5, the shape given says 6.*one",
        ),
        ({"batch": (1, 5)}, "batch is one dim, 2 sizes are given.*batch=SIZE"),
        ({"ids": (1, 5)}, r"no input ids.*input_ids, mask_1, fixed. Its open dims are batch, length"),
    ],
)
def test_what_does_not_fit_is_told(given, message):
    with pytest.raises(InputError, match=message):
        bound_shapes(VALUES, NAMES, given)


def test_an_input_without_a_shape_needs_one():
    values, names = (Value("x", 1, None),), {"x": "x"}
    with pytest.raises(InputError, match=r"no shape for input x.*--input-shape x="):
        bound_shapes(values, names, {})
    assert bound_shapes(values, names, {"x": (1, 2)}) == {"x": (1, 2)}


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "input fixed is missing"),
        ({"fixed": torch.zeros(2, 3), "more": torch.zeros(1)}, "no input more"),
        ({"fixed": torch.zeros(2, 4)}, "dim 1 of input fixed is 3"),
    ],
)
def test_tensors_are_checked(inputs, message):
    with pytest.raises(InputError, match=message):
        check_inputs(VALUES[2:], {"fixed": "fixed"}, inputs)
