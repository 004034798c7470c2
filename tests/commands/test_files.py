"""What commands write, where the disk gives trouble."""

from __future__ import annotations

import errno
import os
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mpccompile import compiler
from mpccompile.commands import files
from mpccompile.errors import InputError, OptionError
from mpccompile.options import Options
from tests import models

OUTPUTS = {"logits": torch.arange(3.0)}


def full(*_arguments, **_options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_outputs_without_a_place_are_kept_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "old.npz").write_bytes(b"older outputs")
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"cannot be written .No space left.* at .*old.npz. They are in") as told:
        files.write_arrays(tmp_path / "old.npz", OUTPUTS)
    monkeypatch.setattr(os, "fsync", fsync)
    assert (tmp_path / "old.npz").read_bytes() == b"older outputs"
    place = Path(told.value.hint.removeprefix("They are in ").removesuffix("."))
    with np.load(place) as file:
        assert file["logits"].tolist() == [0, 1, 2]


def test_outputs_that_are_lost_are_said_to_be(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(zipfile, "ZipFile", full)
    with pytest.raises(InputError, match="They are lost"):
        files.write_arrays(tmp_path / "new.npz", OUTPUTS)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_found_before_the_run(tmp_path, monkeypatch):
    files.check_writable(tmp_path / "new.npz")
    assert list(tmp_path.iterdir()) == []
    files.check_writable(Path(os.devnull))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OptionError, match=r"nothing can be written there \(No space left on device\).* Make room"):
        files.check_writable(tmp_path / "new.npz")


def test_inputs_may_have_the_names_of_an_onnx_file(tmp_path):
    package = compiler.build(*models.mlp(), tmp_path / "mlp", options=Options())
    assert [spec.name for spec in package.inputs] == ["input"]
    renamed = replace(package, inputs=tuple(replace(spec, name="input_1") for spec in package.inputs))
    np.savez(tmp_path / "x.npz", **{"input.1": np.zeros(2), "other.1": np.ones(2)})
    assert set(files.read_inputs(tmp_path / "x.npz", renamed)) == {"input_1", "other.1"}
    np.savez(tmp_path / "x.npz", **{"input.1": np.zeros(2), "input_1": np.ones(2)})
    assert files.read_inputs(tmp_path / "x.npz", renamed)["input_1"].tolist() == [1, 1]


def test_an_array_of_one_number_keeps_its_shape(tmp_path):
    np.savez(tmp_path / "inputs.npz", x=np.float32(3), columns=np.ones((2, 3), order="F"))
    assert {name: tuple(value.shape) for name, value in files.read_arrays(tmp_path / "inputs.npz").items()} == {
        "x": (),
        "columns": (2, 3),
    }
