"""``MPCCOMPILE_DEBUG``: how much a compilation tells of itself on standard error; each level has the ones below it.

1 is how long each phase takes, 2 what each pass does, 3 the graph after each phase, 4 the graph after each pass that
changed it, 5 the generated program.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "MPCCOMPILE_DEBUG"
TIMINGS, PASSES, PHASES, GRAPHS, SOURCE = LEVELS = (1, 2, 3, 4, 5)


class _StandardError(logging.Handler):
    """Writes to the standard error there is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(f"{self.format(record)}\n")


logger = logging.getLogger("mpccompile.debug")
logger.setLevel(logging.INFO)
logger.propagate = False
logger.addHandler(_StandardError())


def level() -> int:
    """Return the level asked for: 0 for none, and 1 where the variable says something that is no number."""
    text = os.environ.get(VARIABLE, "").strip() or "0"
    return int(text) if text.isascii() and text.isdigit() else TIMINGS


def shows(at: int) -> bool:
    """Say whether what belongs to a level is to be told."""
    return level() >= at


def tell(at: int, text: str) -> None:
    """Tell what belongs to a level."""
    if shows(at):
        logger.info("%s", text)


@contextmanager
def timed(phase: str) -> Iterator[None]:
    """Tell how long a phase took."""
    started = time.perf_counter()
    yield
    tell(TIMINGS, f"{phase}: {time.perf_counter() - started:.3f} s")
