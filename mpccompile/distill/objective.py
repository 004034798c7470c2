"""What a stage minimises, and how well a student does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx

from mpccompile.data.table import NO_LABEL, Table
from mpccompile.distill.graphs import Probed, probed
from mpccompile.distill.losses import LayerLoss, LogitLoss
from mpccompile.distill.resent import Resending
from mpccompile.distill.terms import ByAnswers, ByLabels, ByLayers, Stated
from mpccompile.distill.text import ByText, inner_values
from mpccompile.distill.text_sites import text_sites

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
    """What one stage minimises.

    Attributes:
        stage: Its name.
        student: The graph that is trained.
        terms: The loss of its answers.
        regression: Whether the answer is numbers.
        device: Where it is computed.
    """

    stage: str
    student: Probed
    terms: Stated
    regression: bool
    device: str

    def __call__(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the student's answer [N, ..., classes] and the terms that the loss is the sum of."""
        logits, values = self.student(batch.table.inputs)
        return logits, self.terms(batch, logits, values)


def objective(
    stage: str,
    student: tuple[Program, fx.GraphModule],
    teacher: tuple[Program, fx.GraphModule] | None,
    config: DistillationConfig,
    pairs: tuple[Pair, ...],
    *,
    drawn: bool = False,
) -> Objective:
    """Return the loss of a stage between two graphs of programs; ``drawn`` lets it draw where texts are resent."""
    program, module = student
    regression = is_regression(program, config)
    if stage == "text":
        return _of_text(student, teacher, config, pairs, drawn=drawn)
    inner = [pair.student for pair in pairs] if stage == "layers" else []
    terms: Stated
    if teacher is None or stage == "labels" or (stage == "logits" and regression and config.regression_on_labels):
        terms = ByLabels(regression)
    elif stage == "layers":
        terms = ByLayers(probed(*teacher, seen_names(pairs)), LayerLoss(pairs, config.count_padding))
    else:
        tokens = None if config.count_padding else pairs[-1].tokens if pairs else None
        loss = LogitLoss(regression, config.temperature, config.mean_over_classes, tokens)
        terms = ByAnswers(probed(*teacher, seen_names(pairs)), loss)
    return Objective(stage, probed(program, module, inner), terms, regression, config.device)


def _of_text(
    student: tuple[Program, fx.GraphModule],
    teacher: tuple[Program, fx.GraphModule] | None,
    config: DistillationConfig,
    pairs: tuple[Pair, ...],
    *,
    drawn: bool,
) -> Objective:
    program, module = student
    loss, sites = config.text_loss, text_sites(program)
    inside = tuple(pair for pair in pairs if pair.kind == "hidden")
    hidden = inside[: (len(inside) + 1) // 2] if loss.hidden else ()
    asked = probed(*teacher, seen_names(hidden)) if teacher is not None and loss.asks_teacher else None
    graph = probed(program, module, inner_values(sites, hidden))
    resending = Resending(graph, sites, loss.scale, drawn) if loss.resent else None
    terms = ByText(loss, sites, asked, hidden, resending)
    return Objective("text", graph, terms, regression=False, device=config.device)


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
        for batch in batches(table, torch.arange(len(table)), size, loss.device):
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
