"""Files are there whole or not at all."""

from __future__ import annotations

import errno
import os

import pytest

from mpccompile.atomic import filling, replacing


def test_what_is_written_takes_the_place_of_what_was(tmp_path):
    path = tmp_path / "file"
    for text in ("one", "two"):
        with replacing(path) as temporary:
            temporary.write_text(text)
            assert temporary != path
        assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_failure_leaves_what_was_and_nothing_else(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    path.write_text("old")

    def full(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", full)

    def write():
        with replacing(path) as temporary:
            temporary.write_text("half")
            if call == "write":
                full()

    with pytest.raises(OSError, match="No space"):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    with replacing(tmp_path / "link") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"


def test_a_pipe_is_written_as_it_is(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with replacing(tmp_path / "pipe") as place:
        assert place == tmp_path / "pipe"
    assert list(tmp_path.iterdir()) == [tmp_path / "pipe"]


def test_a_folder_is_filled_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "new" / "folder"

    def fill():
        with filling(folder) as place:
            (place / "file").write_text("half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space"):
        fill()
    assert not (tmp_path / "new").exists()


def test_a_folder_in_it_takes_the_place_of_an_earlier_one(tmp_path):
    for text in ("one", "two"):
        with filling(tmp_path / "folder") as place:
            (place / "file").write_text(text)
            (place / "step").mkdir()
            (place / "step" / text).write_text(text)
    folder = tmp_path / "folder"
    assert {each.relative_to(folder).as_posix() for each in folder.rglob("*")} == {"file", "step", "step/two"}
    assert (folder / "file").read_text() == "two"
