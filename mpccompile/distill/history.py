"""What training did, step by step: a CSV file that a kill cannot take back."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from mpccompile.atomic import replacing
from mpccompile.errors import DistillationError


@dataclass(frozen=True)
class Record:
    """One step.

    Attributes:
        step: From 1, over all stages.
        stage: ``"layers"``, ``"logits"``, ``"labels"`` or ``"text"``.
        loss: On the step's batch.
        attention: Part of it from attention scores, in the stage of layers.
        hidden: Part of it from hidden states, in the stages of layers and of text.
        lr: Learning rate.
        gradient_norm: Before it was scaled down.
        validation_loss: Where the step was followed by a validation.
        validation_metric: The same; accuracy or correlation.
        seconds: Since the run began, resumed runs added up.
        tokens: Part of the loss from the tokens that come next, in the stage of text.
        alignment: Part of it from hidden states beside embeddings, in the stage of text.
        answers: Part of it from the teacher's answers, in the stage of text.
    """

    step: int
    stage: str
    loss: float
    attention: float | None
    hidden: float | None
    lr: float
    gradient_norm: float
    validation_loss: float | None
    validation_metric: float | None
    seconds: float
    tokens: float | None = None
    alignment: float | None = None
    answers: float | None = None


TERMS = ("attention", "hidden", "tokens", "alignment", "answers")
"""The terms of a loss that have a column of their own."""
_COLUMNS = tuple(field.name for field in fields(Record))
_LOST = (
    "A run goes on with its log and its checkpoint together: restore the log from a copy, or delete both to train again"
    " from the start. The weights of that step are in the checkpoint."
)
_TEXT, _WHOLE = frozenset({"stage"}), frozenset({"step"})


def write(path: Path, records: Iterable[Record]) -> None:
    """Write a log; the file appears whole or not at all.

    Raises:
        DistillationError: If that cannot be done.
    """
    with _told(path), replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        writer.writerows(asdict(record) for record in records)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say which file it is that cannot be written."""
    try:
        yield
    except OSError as error:
        raise DistillationError(
            f"the log could not be written ({error.strerror})",
            where=str(path),
            hint="Make room or choose another folder, and run the same again.",
        ) from error


def read(path: Path, *, up_to: int) -> tuple[Record, ...]:
    """Read the steps of a log up to one of them; what a kill left of a line after it does no harm.

    Raises:
        DistillationError: If a step before that is not there, or cannot be read.
    """
    records: list[Record] = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if len(records) == up_to:
                    break
                records.append(Record(**{name: _parsed(name, row) for name in _COLUMNS}))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DistillationError(f"the log cannot be read ({error})", where=str(path), hint=_LOST) from error
    if len(records) != up_to:
        what = f"the log ends at step {len(records)}, the checkpoint at {up_to}"
        raise DistillationError(what, where=str(path), hint=_LOST)
    return tuple(records)


def _parsed(name: str, row: Mapping[str, str | None]) -> Any:
    """Read one column; a loss that an older log has no column for is one that was not taken."""
    if name in _TEXT:
        return row[name]
    if name in _WHOLE:
        return int(row[name] or "")
    text = row.get(name)
    return float(text) if text else None


class Log:
    """Records in memory, and in a file if there is one, each written as it comes."""

    def __init__(self, path: Path | None, records: tuple[Record, ...] = ()) -> None:
        self.records = list(records)
        self._path = path
        self._file: IO[str] | None = None
        if path is not None:
            # What a killed run wrote after its last checkpoint is done again.
            write(path, records)
            with _told(path):
                self._file = path.open("a", buffering=1, newline="", encoding="utf-8")

    def add(self, record: Record) -> None:
        """Keep one more record."""
        self.records.append(record)
        if self._file is not None and self._path is not None:
            with _told(self._path):
                csv.DictWriter(self._file, _COLUMNS).writerow(asdict(record))

    def sync(self) -> None:
        """Bring what was added to the disk: before the checkpoint that counts on it."""
        if self._file is not None and self._path is not None:
            with _told(self._path):
                self._file.flush()
                os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None or self._path is None:
            return
        # What keeps the end of the log from the disk has stopped the training already, if anything did.
        with suppress(DistillationError) if error is not None else nullcontext(), _told(self._path):
            self._file.close()
