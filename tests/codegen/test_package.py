"""A package is written whole or not at all, its weights from where they lie, whatever memory they share."""

from __future__ import annotations

import errno
import os

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mpccompile import compiler
from mpccompile.codegen import package
from mpccompile.codegen.package import _apart
from mpccompile.errors import PackageError
from mpccompile.options import Options
from tests import models


def test_what_shares_memory_is_copied_and_nothing_else_is(tmp_path):
    table, other = torch.arange(6.0).reshape(2, 3), torch.ones(2)
    held = {"table": table, "head": table, "row": table[1], "other": other}
    apart = _apart(held)
    assert {name for name in held if apart[name].data_ptr() == held[name].data_ptr()} == {"table", "other"}
    save_file(apart, tmp_path / "weights.safetensors")
    read = load_file(tmp_path / "weights.safetensors")
    assert all(torch.equal(read[name], value) for name, value in held.items())


FAILURES = [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), SafetensorError("No space left"), KeyboardInterrupt()]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda error: type(error).__name__)
def test_a_package_that_cannot_be_written_leaves_what_was_there(tmp_path, monkeypatch, failure):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "model.py").write_text("before", encoding="utf-8")
    model, inputs = models.mlp()

    def fails(*_arguments):
        raise failure

    monkeypatch.setattr(package, "save_file", fails)
    told, said = (
        (KeyboardInterrupt, None) if isinstance(failure, KeyboardInterrupt) else (PackageError, "No space left")
    )
    for folder in (tmp_path / "full", tmp_path / "new" / "deep"):
        with pytest.raises(told, match=said):
            compiler.build(model, inputs, folder, options=Options())
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "model.py"]
    assert (tmp_path / "full" / "model.py").read_text(encoding="utf-8") == "before"


def test_a_copy_that_fails_leaves_nothing(tmp_path, monkeypatch):
    model, inputs = models.mlp()
    written = compiler.build(model, inputs, tmp_path / "package", options=Options())
    (written.folder / "broken").symlink_to(tmp_path / "nowhere")
    with pytest.raises(PackageError, match="cannot be saved"):
        package.copy(written, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_package_that_is_saved_where_it_stands_stays_as_it_is(tmp_path):
    model, inputs = models.mlp()
    written = compiler.build(model, inputs, tmp_path / "package", options=Options())
    files = {path.name: path.read_bytes() for path in written.folder.iterdir()}
    package.copy(written, tmp_path / "package" / ".." / "package")
    assert {path.name: path.read_bytes() for path in written.folder.iterdir()} == files
