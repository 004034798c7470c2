"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
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


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
