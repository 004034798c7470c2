"""The log: exact, and cut back to where a run goes on from."""

from __future__ import annotations

import errno
import math
import os

import pytest

from mpccompile.distill.history import Log, Record, read
from mpccompile.errors import DistillationError


def record(step):
    return Record(step, "layers", math.pi / step, 0.1 + step, None, 1e-5, 2.0, None, 0.5, 1.25)


def test_numbers_come_back_bit_for_bit(tmp_path):
    path = tmp_path / "log.csv"
    with Log(path) as log:
        for step in (1, 2, 3):
            log.add(record(step))
    assert read(path, up_to=3) == (record(1), record(2), record(3))
    assert path.read_text().splitlines()[0].startswith("step,stage,loss,attention")


def test_what_came_after_the_checkpoint_is_cut_off(tmp_path):
    path = tmp_path / "log.csv"
    with Log(path) as log:
        for step in (1, 2, 3):
            log.add(record(step))
    path.write_text(path.read_text() + "4,lay", encoding="utf-8")
    with Log(path, read(path, up_to=2)) as log:
        log.add(record(3))
    assert read(path, up_to=3) == (record(1), record(2), record(3))
    assert len(path.read_text().splitlines()) == 4


def test_a_log_that_is_too_short_is_told(tmp_path):
    path = tmp_path / "log.csv"
    with Log(path) as log:
        log.add(record(1))
    with pytest.raises(DistillationError, match=r"ends at step 1, the checkpoint at 2.*from a copy, or delete both"):
        read(path, up_to=2)
    with pytest.raises(DistillationError, match=r"cannot be read .*restore the log"):
        read(tmp_path / "absent.csv", up_to=2)


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    def full(_file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Log(tmp_path / "log.csv") as log:
        log.add(record(1))
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(DistillationError, match=r"log could not be written \(No space left on device\)"):
            log.sync()


def test_a_log_of_an_older_version_lacks_only_losses_that_were_not_taken(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("step,stage,loss\n1,layers,0.5\n", encoding="utf-8")
    (record,) = read(path, up_to=1)
    assert (record.step, record.stage, record.loss, record.hidden) == (1, "layers", 0.5, None)
