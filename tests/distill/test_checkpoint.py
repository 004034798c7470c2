"""Checkpoints are whole or absent."""

from __future__ import annotations

import errno
import os

import pytest
import torch

from mpccompile.distill import checkpoint
from mpccompile.distill.checkpoint import State
from mpccompile.errors import DistillationError

RUN = {"config": "{}", "data": "b"}


@pytest.fixture
def saved(tmp_path):
    checkpoint.save(tmp_path, {"weight/w": torch.arange(3.0)}, State(RUN, 1, 2, 3, 0.1, 4.5))
    return tmp_path


def test_what_was_saved_is_read(saved):
    state, tensors = checkpoint.load(saved, RUN)
    assert state == State(RUN, 1, 2, 3, 0.1, 4.5)
    assert tensors["weight/w"].tolist() == [0, 1, 2]
    assert [path.name for path in saved.iterdir()] == [checkpoint.FILE]


def test_nothing_is_nothing(tmp_path):
    assert checkpoint.load(tmp_path, RUN) is None


@pytest.mark.parametrize("call", ["fsync", "write"])
def test_a_full_disk_leaves_the_last_checkpoint(saved, monkeypatch, call):
    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*((os, "fsync") if call == "fsync" else (checkpoint, "save_file")), full)
    with pytest.raises(DistillationError, match=r"step 9 could not be written .*No space left.* still there"):
        checkpoint.save(saved, {"weight/w": torch.zeros(3)}, State(RUN, total=9))
    assert checkpoint.load(saved, RUN)[0].total == 3
    assert [path.name for path in saved.iterdir()] == [checkpoint.FILE]


def test_a_kill_in_mid_write_leaves_the_last_checkpoint(saved):
    (saved / f"{checkpoint.FILE}.partial").write_bytes(b"half of it")
    assert checkpoint.load(saved, RUN)[0].total == 3
    checkpoint.save(saved, {"weight/w": torch.zeros(3)}, State(RUN, total=4))
    assert [path.name for path in saved.iterdir()] == [checkpoint.FILE]


def test_another_run_is_told_what_differs(saved):
    with pytest.raises(DistillationError, match="of another run: its data differs"):
        checkpoint.load(saved, RUN | {"data": "c"})
    with pytest.raises(DistillationError, match="its teacher differs"):
        checkpoint.load(saved, RUN | {"teacher": "t"})


def test_a_damaged_file_is_told(saved):
    path = saved / checkpoint.FILE
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DistillationError, match=r"cannot be read .* Restore it from a copy, or delete it"):
        checkpoint.load(saved, RUN)
    checkpoint.save_tensors(path, {"w": torch.zeros(1)}, {}, "something else")
    with pytest.raises(DistillationError, match="no checkpoint of a distillation"):
        checkpoint.load(saved, RUN)


def test_a_fingerprint_sees_every_bit():
    one = [("w", torch.zeros(3))]
    assert checkpoint.fingerprint(one) == checkpoint.fingerprint([("w", torch.zeros(3))])
    others = [[("v", torch.zeros(3))], [("w", torch.zeros(3, 1))], [("w", torch.tensor([0.0, 0.0, 1e-30]))]]
    assert len({checkpoint.fingerprint(each) for each in [one, *others]}) == 4
