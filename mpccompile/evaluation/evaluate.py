"""Run a test set through every way there is to run a compiled model, and compare."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mpccompile.codegen import package as packages
from mpccompile.data.checks import expect_classes, expect_one_class_a_row
from mpccompile.data.read import read
from mpccompile.errors import InputError
from mpccompile.evaluation.fit import told_by_row
from mpccompile.evaluation.score import Answers, Forecast, Score, class_scores, forecast, score
from mpccompile.evaluation.ways import APPROXIMATED, PLAINTEXT, PRIVATE, SIMULATED, WAYS, Refused, Way, ways_of
from mpccompile.private import PrivateModel

if TYPE_CHECKING:
    from mpccompile.codegen.package import Package
    from mpccompile.data.table import Table

BATCH_SIZE = 8
Progress = Callable[[str, int, int], None]
"""Told which way ran, how many calls are done and how many there are."""


@dataclass(frozen=True)
class Evaluation:
    """What the test set says of a compiled model.

    Attributes:
        name: The model's class.
        examples: Size of the test set.
        batch_size: Examples in one call.
        scores: One for each way that ran, plaintext first.
        forecast: How the simulation compares with the private run, where both ran.
    """

    name: str
    examples: int
    batch_size: int
    scores: tuple[Score, ...]
    forecast: Forecast | None

    def __getitem__(self, name: str) -> Score:
        """Return the score of one way.

        Raises:
            KeyError: If it did not run.
        """
        for one in self.scores:
            if one.name == name:
                return one
        raise KeyError(f"{name} did not run, but {', '.join(one.name for one in self.scores)}")

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return asdict(self)


@dataclass
class _Log:
    """What one way has answered so far."""

    way: Way
    scores: list[Tensor] = field(default_factory=list)
    answered: list[Tensor] = field(default_factory=list)
    seconds: float = 0.0
    refusals: Counter[str] = field(default_factory=Counter)

    def run(self, batch: Mapping[str, Tensor], count: int) -> int | None:
        """Run one batch, of which the first ``count`` rows count; return the number of classes, None if refused."""
        size = len(next(iter(batch.values())))
        started = time.perf_counter()
        try:
            outputs = self.way.call(batch)
        except Refused as refused:
            self.refusals[str(refused)] += count
            outputs = {}
        self.seconds += time.perf_counter() - started
        found = class_scores(outputs, size)[:count] if outputs else torch.zeros(count, 1)
        self.scores.append(found)
        self.answered.append(torch.full((count,), bool(outputs)))
        return found.shape[-1] if outputs else None

    def answers(self) -> Answers:
        """Return all of it; refused rows are as wide as the others."""
        width = max(part.shape[-1] for part in self.scores)
        rows = [part if part.shape[-1] == width else part.new_zeros(len(part), width) for part in self.scores]
        return Answers(torch.cat(rows), torch.cat(self.answered), self.seconds, dict(self.refusals))


def evaluate(
    target: PrivateModel | str | Path,
    data: Any,
    *,
    model: nn.Module | None = None,
    batch_size: int | None = None,
    limit: int | None = None,
    ways: Sequence[str] = WAYS,
    progress: Progress | None = None,
) -> Evaluation:
    """Run labelled examples in plaintext, in float32 with approximations, simulated, and privately; see the package.

    Args:
        target: A compiled model, or the folder of a package. Parties that are started here are stopped here.
        data: What :func:`mpccompile.data.read.read` takes, with labels.
        model: The torch model of a package; a compiled model has its own.
        batch_size: Examples in one call; by default those the target was compiled for, or 8.
        limit: How many examples to use, from the first.
        ways: Which of ``"plaintext"``, ``"approximated"``, ``"simulated"`` and ``"private"`` to run.
        progress: Called before every call.

    Raises:
        InputError: If the data does not fit the model, labels are missing, or the model is no classifier.
        PackageError: If the folder holds no intact package.
    """
    unknown = sorted(set(ways) - set(WAYS))
    if unknown or not ways:
        raise InputError(f"{', '.join(unknown) or 'nothing'} is no way to run", hint=f"Use some of {', '.join(WAYS)}.")
    private = target if isinstance(target, PrivateModel) else PrivateModel.from_package(packages.read(Path(target)))
    size = batch_size or _compiled_size(private)
    # A model may be compiled again for rows of another length; a package cannot.
    table = read(data, private.packages[0].inputs if private.model is None else ()).limited(limit)
    expect_one_class_a_row(table)
    try:
        with told_by_row(private.model, table):
            package = private.compile_for(_first(table, size))
        table = read(table, package.inputs)
        model = private.model if model is None else model
        logs = [_Log(way) for way in ways_of(private, package, model, tuple(ways))]
        _run(logs, table, size, private, progress)
    finally:
        if private is not target:
            private.close()
    return _judged(package, table, size, {log.way.name: log.answers() for log in logs})


def _first(table: Table, size: int) -> dict[str, Tensor]:
    batch, _count = next(table.batches(size))
    return batch


def _compiled_size(private: PrivateModel) -> int:
    # The last package is that of the first example; a shorter batch at the end of a data set has one of its own.
    shapes = [spec.shape for package in reversed(private.packages) for spec in package.inputs]
    return shapes[0][0] if shapes and shapes[0] else BATCH_SIZE


def _run(logs: Sequence[_Log], table: Table, size: int, private: PrivateModel, progress: Progress | None) -> None:
    """Run every batch in every way in turn: a machine that slows down slows down all of them."""
    if any(log.way.name == PRIVATE for log in logs):
        # The parties' start and the weights' opening are no part of a call.
        private.prepare(0)
    total, done, checked = -(-len(table) // size) * len(logs), 0, False
    for batch, count in table.batches(size):
        for log in logs:
            if progress is not None:
                progress(log.way.name, done, total)
            classes = log.run(batch, count)
            if classes is not None and not checked:
                expect_classes(table, classes)
                checked = True
            done += 1
    if progress is not None:
        progress("", total, total)


def _judged(package: Package, table: Table, size: int, answers: Mapping[str, Answers]) -> Evaluation:
    labels = expect_one_class_a_row(table)
    plain, approximated = answers.get(PLAINTEXT), answers.get(APPROXIMATED)
    scores = tuple(
        score(
            name,
            each,
            labels,
            None if each is plain else plain,
            None if each is approximated or each is plain else approximated,
        )
        for name, each in answers.items()
    )
    both = SIMULATED in answers and PRIVATE in answers
    foretold = forecast(answers[SIMULATED], answers[PRIVATE]) if both else None
    return Evaluation(package.name, len(table), size, scores, foretold)
