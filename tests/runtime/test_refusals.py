"""What a private model refuses before any process is started: damaged packages and wrong inputs."""

from __future__ import annotations

import re
import shutil

import pytest
import torch
from torch import nn

import mpccompile
from mpccompile.codegen.package import FILES
from mpccompile.errors import InputError, MpcCompileError, PackageError
from tests import models


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "package"
    model, inputs = models.mlp()
    mpccompile.compile(model, example_inputs=inputs).save(folder)
    return folder


@pytest.mark.parametrize("name", FILES)
def test_an_edited_file_is_named(name, package, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(package, copy)
    with (copy / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(PackageError, match=re.escape(name)):
        mpccompile.load(copy)
    (copy / name).unlink()
    with pytest.raises(PackageError, match=f"{re.escape(name)} is missing"):
        mpccompile.load(copy)


def test_a_folder_that_is_no_package_is_named(package, tmp_path):
    with pytest.raises(PackageError, match=r"no manifest\.json"):
        mpccompile.load(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(package, copy)
    (copy / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(PackageError, match=r"manifest\.json cannot be read"):
        mpccompile.load(copy)
    (copy / "manifest.json").write_text('{"format": 99}', encoding="utf-8")
    with pytest.raises(PackageError, match="format 99"):
        mpccompile.load(copy)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "input input is missing"),
        ({"input": torch.zeros(2, 8), "other": torch.zeros(2)}, "there is no input other"),
        ({"input": torch.zeros(3, 8)}, r"input input has shape \[3, 8\], the program was compiled for \[2, 8\]"),
        ({"input": torch.zeros(2, 8, dtype=torch.int64)}, "input input has dtype torch.int64"),
        ({"input": torch.full((2, 8), float("nan"))}, "NaN or infinity at input input"),
        ({"input": torch.full((2, 8), float("inf"))}, "NaN or infinity at input input"),
        ({"input": torch.full((2, 8), 1e30)}, r"not below 2\^47 in size at input input"),
        ({"input": [[0.0] * 8] * 2}, "input input is not a tensor"),
    ],
)
def test_a_wrong_input_is_told_before_anything_starts(given, message, package):
    private = mpccompile.load(package)
    with pytest.raises(InputError, match=message):
        private(**given)
    assert private._session is None


def test_wrong_positional_inputs_are_told(package):
    private = mpccompile.load(package)
    with pytest.raises(InputError, match="2 inputs are given, the model takes input"):
        private(torch.zeros(2, 8), torch.zeros(2, 8))
    with pytest.raises(InputError, match="input input is given twice"):
        private(torch.zeros(2, 8), input=torch.zeros(2, 8))


def test_nan_is_refused_before_it_calibrates_anything():
    model, inputs = models.mlp()
    private = mpccompile.compile(model)
    with pytest.raises(InputError, match="NaN"):
        private(inputs["input"] * float("nan"))
    assert not private.packages
    with pytest.raises(InputError, match=r"there is no input other\. The inputs are input"):
        private(other=inputs["input"])


class Scaled(nn.Module):
    """A model with an argument that is baked in."""

    def forward(self, x, factor=1.0):
        return x * factor


def test_another_value_that_is_baked_in_is_compiled_anew():
    x = torch.ones(1, 4)
    private = mpccompile.compile(Scaled())
    one = private.compile_for({"x": x, "factor": 2.0})
    two = private.compile_for({"x": x, "factor": 3.0})
    assert one.folder != two.folder
    assert private.compile_for({"x": x, "factor": 2.0}) is one


def test_nothing_has_run_yet():
    private = mpccompile.compile(models.mlp()[0])
    for ask in (private.report, private.last_profile, private.prepare):
        with pytest.raises(MpcCompileError, match="yet"):
            ask()
