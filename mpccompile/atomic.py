"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a name to write to; what is written there is brought to the disk, and then takes the place of ``path``.

    Where anything fails, what was there stays, and nothing is left beside it. A device or a pipe is written as it is.

    Raises:
        OSError: As it comes.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    # A link stays one: what it leads to is replaced.
    target = path.resolve()
    temporary = target.with_name(f"{target.name}.partial")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(target.parent)


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to write files to, which go to ``folder`` when all of them are there.

    Folders among them take the place of those of the same name. Where anything fails before, what was in ``folder``
    stays as it was, and a folder that was made for them is gone.

    Raises:
        OSError: As it comes.
    """
    made = [place for place in (folder.absolute(), *folder.absolute().parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # In the folder itself: it may be on a disk of its own.
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as temporary:
            yield Path(temporary)
            for place in sorted(Path(temporary).iterdir()):
                target = folder / place.name
                if place.is_dir() and target.is_dir():
                    # A folder takes the place of an empty one only.
                    shutil.rmtree(target)
                place.replace(target)
    except BaseException:
        for place in made:
            # One that holds something else by now stays.
            with suppress(OSError):
                place.rmdir()
        raise


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
