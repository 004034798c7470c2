"""What a stage minimises, and how well a student does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx

from mpccompile.data.table import NO_LABEL, Table
from mpccompile.distill.graphs import Probed, probed
from mpccompile.distill.losses import LayerLoss, LogitLoss, label_loss

if TYPE_CHECKING:
    from mpccompile.distill.config import DistillationConfig
    from mpccompile.distill.match import Pair
    from mpccompile.ir.program import Program


@dataclass(frozen=True)
class Batch:
    """Some rows, filled up to the size that the graph takes.

    Attributes:
        table: As many rows as the graph takes.
        rows: Which of them count, bool [N]; the others are repetitions.
        count: How many count.
    """

    table: Table
    rows: Tensor
    count: int


def batches(table: Table, order: Tensor, size: int, device: str = "cpu") -> Iterator[Batch]:
    """Go through rows of a table in an order; the last batch repeats its own rows to be full."""
    for start in range(0, len(order), size):
        index = order[start : start + size]
        count = len(index)
        if count < size:
            index = index.repeat(-(-size // count))[:size]
        yield Batch(table.rows(index).to(device), (torch.arange(size) < count).to(device), count)


@dataclass(frozen=True)
class Objective:
    """The loss of one stage.

    Attributes:
        stage: Its name.
        student: The graph that is trained.
        teacher: Whom it learns from; None in the stage of labels.
        config: Flags of the losses.
        pairs: What is compared inside.
        regression: Whether the answer is numbers.
    """

    stage: str
    student: Probed
    teacher: Probed | None
    config: DistillationConfig
    pairs: tuple[Pair, ...]
    regression: bool

    def __call__(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the student's answer [N, ..., classes] and the parts that the loss is the sum of."""
        logits, values = self.student(batch.table.inputs)
        if self.teacher is None:
            labels = batch.table.labels
            if labels is None:
                raise ValueError("the labels were checked before")
            return logits, {"labels": label_loss(logits, labels, batch.rows, regression=self.regression)}
        with torch.no_grad():
            target, seen = self.teacher(batch.table.inputs)
        if self.stage == "layers":
            loss = LayerLoss(self.pairs, self.config.count_padding)
            return logits, loss(seen, values, batch.rows)
        tokens = None if self.config.count_padding else self.pairs[-1].tokens if self.pairs else None
        answer = LogitLoss(self.regression, self.config.temperature, self.config.mean_over_classes, tokens)
        return logits, {"logits": answer(target, logits, batch.rows, seen)}


def objective(
    stage: str,
    student: tuple[Program, fx.GraphModule],
    teacher: tuple[Program, fx.GraphModule] | None,
    config: DistillationConfig,
    pairs: tuple[Pair, ...],
) -> Objective:
    """Return the loss of a stage between two graphs of programs."""
    program, module = student
    inner = [pair.student for pair in pairs] if stage == "layers" else []
    graph = probed(program, module, inner)
    regression = is_regression(program, config)
    by_labels = stage == "labels" or (stage == "logits" and regression and config.regression_on_labels)
    if by_labels or teacher is None:
        return Objective(stage, graph, None, config, pairs, regression)
    return Objective(stage, graph, probed(*teacher, seen_names(pairs)), config, pairs, regression)


def seen_names(pairs: Sequence[Pair]) -> list[str]:
    """Return the teacher's nodes that pairs speak of."""
    names = [pair.teacher for pair in pairs]
    names += [pair.mask for pair in pairs if pair.mask is not None]
    return names + [pair.tokens.mask for pair in pairs if pair.tokens is not None]


def is_regression(program: Program, config: DistillationConfig) -> bool:
    """Say whether the answer is numbers, not scores of classes."""
    return config.task == "regression" or (config.task == "auto" and logits_shape(program)[-1] == 1)


def logits_shape(program: Program) -> tuple[int, ...]:
    """Return the shape of the answer, [N, ..., classes]."""
    keys = program.output.keys
    return tuple(program.reference[keys.index("logits") if "logits" in keys else 0].shape)


@dataclass(frozen=True)
class Scores:
    """How well a student does on a table.

    Attributes:
        loss: Mean loss of the stage over the rows; None when nothing was asked of a teacher.
        metric: Accuracy, or Pearson's correlation for regression; None without labels.
    """

    loss: float | None
    metric: float | None


def evaluate(loss: Objective, table: Table, size: int) -> Scores:
    """Return the loss and the metric over all rows of a table."""
    total = 0.0
    counter = Metric(regression=loss.regression)
    with torch.no_grad():
        for batch in batches(table, torch.arange(len(table)), size, loss.config.device):
            logits, parts = loss(batch)
            total += float(sum(parts.values())) * batch.count
            counter.add(logits, batch)
    return Scores(total / len(table), counter.value())


def metric_of(graph: Probed, table: Table, size: int, *, regression: bool) -> float | None:
    """Return the metric of a graph's answers over all rows of a table."""
    counter = Metric(regression=regression)
    with torch.no_grad():
        for batch in batches(table, torch.arange(len(table)), size):
            counter.add(graph(batch.table.inputs)[0], batch)
    return counter.value()


class Metric:
    """Counts right answers, or collects numbers to correlate."""

    def __init__(self, *, regression: bool) -> None:
        self._regression = regression
        self._right = 0
        self._asked = 0
        self._numbers: list[tuple[Tensor, Tensor]] = []

    def add(self, logits: Tensor, batch: Batch) -> None:
        """Add the rows of a batch that count."""
        labels = batch.table.labels
        if labels is None:
            return
        logits, labels = logits[: batch.count], labels[: batch.count]
        if self._regression:
            self._numbers.append((logits.double().flatten().cpu(), labels.double().flatten().cpu()))
            return
        asked = labels != NO_LABEL
        self._right += int(((logits.argmax(-1) == labels) & asked).sum())
        self._asked += int(asked.sum())

    def value(self) -> float | None:
        """Return the accuracy or the correlation; None when nothing was added that has one."""
        if self._numbers:
            answers, labels = (torch.cat(column) for column in zip(*self._numbers, strict=True))
            if len(answers) < 2 or not float(answers.std()) or not float(labels.std()):  # noqa: PLR2004 - as corrcoef
                return 0.0
            return float(torch.corrcoef(torch.stack([answers, labels]))[0, 1])
        return self._right / self._asked if self._asked else None
