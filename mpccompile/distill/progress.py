"""The progress bar of a training."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from rich.progress import TaskID

    from mpccompile.distill.history import Record


class Bar:
    """One line per stage: steps, loss, last validation."""

    def __init__(self, *, shown: bool) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[said]}"),
            disable=not shown,
        )
        self._task: TaskID | None = None
        self._validation = ""

    def begin(self, stage: str, steps: int, done: int) -> None:
        """Start the line of a stage."""
        self._validation = ""
        self._task = self._progress.add_task(stage, total=steps, completed=done, said="")

    def advance(self, record: Record) -> None:
        """Count one step."""
        if record.validation_loss is not None:
            metric = "" if record.validation_metric is None else f", {record.validation_metric:.1%}"
            self._validation = f"  validation {record.validation_loss:.4g}{metric}"
        if self._task is not None:
            self._progress.update(self._task, advance=1, said=f"loss {record.loss:.4g}{self._validation}")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
