"""What each part of a distillation is worth: the same student without it."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from torch import nn

from mpccompile.atomic import replacing
from mpccompile.data.checks import check_labels
from mpccompile.distill.config import DistillationConfig, Stage
from mpccompile.distill.data import batch_size, read
from mpccompile.distill.fresh import with_random_weights
from mpccompile.distill.graphs import probed
from mpccompile.distill.objective import is_regression, logits_shape, metric_of
from mpccompile.distill.run import distill, teacher_program
from mpccompile.errors import DistillationError, Diverged, OptionError

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from mpccompile.data.table import Table
    from mpccompile.distill.result import Distilled
    from mpccompile.ir.program import Program

FILE = "ablations.csv"
TEACHER, UNTRAINED = "teacher", "no training"
FULL = "full"
ARMS = (FULL, "w/o stage 1", "w/o stage 2", "w/o d", "w/o p,d")
"""The trained students, as MPCFormer names them: d is distillation, p the pretrained weights."""


@dataclass(frozen=True)
class Plan:
    """What to leave out.

    Attributes:
        arms: Which of :data:`ARMS`.
        seeds: Each arm is trained with each of them.
        folder: Where checkpoints, logs and ``ablations.csv`` go; a killed run goes on from there.
        progress: Whether to show progress bars.
    """

    arms: tuple[str, ...] = ARMS
    seeds: tuple[int, ...] = (42,)
    folder: Path | None = None
    progress: bool = True

    def __post_init__(self) -> None:
        unknown = sorted(set(self.arms) - set(ARMS))
        if unknown:
            raise OptionError(f"there is no arm {', '.join(unknown)}", hint=f"The arms are {'; '.join(ARMS)}.")


ALL = Plan()


@dataclass(frozen=True)
class Outcome:
    """One student, or the teacher.

    Attributes:
        arm: What was done to it.
        seed: Seed of its training.
        metric: Accuracy, or correlation for regression, on the test data; None where the training diverged.
        seconds: What its training took; None where it diverged.
        note: Where it diverged and why; empty otherwise.
    """

    arm: str
    seed: int
    metric: float | None
    seconds: float | None
    note: str = ""


@dataclass(frozen=True)
class Ablations:
    """All outcomes, in the order they were measured."""

    outcomes: tuple[Outcome, ...]

    def metrics(self, arm: str) -> list[float]:
        """Return the metric of each seed of an arm whose training went to its end."""
        return [each.metric for each in self.outcomes if each.arm == arm and each.metric is not None]

    def table(self) -> RichTable:
        """Return one line per arm: mean and standard deviation over the seeds that did not diverge."""
        from rich.table import Table as RichTable

        table = RichTable(title="What each part of the distillation is worth")
        for name in ("", "metric", "deviation", "seeds", "seconds"):
            table.add_column(name, justify="left" if not name else "right")
        table.add_column("")
        for arm in dict.fromkeys(outcome.arm for outcome in self.outcomes):
            found = self.metrics(arm)
            spread = f"{stdev(found):.4f}" if len(found) > 1 else ""
            seconds = [each.seconds for each in self.outcomes if each.arm == arm and each.seconds is not None]
            average, spent = (f"{mean(found):.4f}", f"{mean(seconds):.1f}") if found else ("", "")
            notes = [f"seed {each.seed} {each.note}" for each in self.outcomes if each.arm == arm and each.note]
            table.add_row(arm, average, spread, str(len(found)), spent, "; ".join(notes))
        return table

    def save(self, path: Path) -> None:
        """Write one line per outcome to a CSV file.

        Raises:
            DistillationError: If that cannot be done.
        """
        try:
            with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, [field.name for field in fields(Outcome)])
                writer.writeheader()
                writer.writerows(asdict(outcome) for outcome in self.outcomes)
        except OSError as error:
            raise DistillationError(
                f"the results cannot be written ({error.strerror})",
                where=str(path),
                hint="Make room or choose another folder, and run the same again: no finished training is repeated.",
            ) from error


def ablate(
    model: nn.Module,
    student_of: Callable[[nn.Module], Program],
    data: Any,
    test: Any,
    *,
    validation: Any = None,
    config: DistillationConfig | None = None,
    plan: Plan = ALL,
    keep: Callable[[Outcome, Distilled], None] | None = None,
) -> Ablations:
    """Train the student in full and without each part of the distillation, and measure all of them.

    "w/o stage 1" learns only the teacher's answers, "w/o stage 2" only its layers. "w/o d" starts from the teacher's
    weights and learns the labels, "w/o p,d" the same from random weights; both see the data as often as the full
    distillation does, unless ``config.labels`` says otherwise. A training that diverges is noted, and the others go on.

    Args:
        model: The teacher.
        student_of: Makes the program to train of a model: ``lambda model: mpccompile.program(model, inputs, ...)``.
        data: Rows with labels to train on, read once and used by all arms.
        test: Rows with labels to report on.
        validation: Rows to select weights by; the paper takes ``test`` for it.
        config: How the full student is trained; each arm is this with parts left out.
        plan: What is left out, how often, and where results go.
        keep: Called with each outcome and its student.

    Raises:
        DataError: If the data does not fit the student, or has no labels.
        DistillationError: As :func:`mpccompile.distill.run.distill` does.
        Diverged: If every training diverges.
    """
    config = config or DistillationConfig()
    start = student_of(model)
    train, judged = read(data, start), read(test, start, "test")
    selection = None
    if validation is not None:
        # A generator can be read once.
        selection = judged if validation is test else read(validation, start, "validation")
    if any(arm.startswith("w/o d") or arm == "w/o p,d" for arm in plan.arms):
        # Found out now, and not after the arms that do without.
        check_labels(train, logits_shape(start), regression=is_regression(start, config))
    teacher = teacher_program(model, start)
    outcomes = [Outcome(TEACHER, 0, _measured(teacher, judged, config), 0.0)]
    outcomes.append(Outcome(UNTRAINED, 0, _measured(start, judged, config), 0.0))
    diverged: list[Diverged] = []
    for seed, arm in itertools.product(plan.seeds, plan.arms):
        program = student_of(with_random_weights(model, seed)) if arm == "w/o p,d" else start
        job = _Arm(arm, replace(_without(arm, config), seed=seed), teacher, program)
        trained = None
        try:
            trained = job.train(train, selection, plan)
        except Diverged as error:
            diverged.append(error)
            outcomes.append(Outcome(arm, seed, None, None, f"diverged at step {error.step}: {error.what}"))
        else:
            measured = _measured(trained.program, judged, config)
            outcomes.append(Outcome(arm, seed, measured, trained.history[-1].seconds))
        if plan.folder is not None:
            Ablations(tuple(outcomes)).save(plan.folder / FILE)
        if trained is not None and keep is not None:
            keep(outcomes[-1], trained)
    if diverged and len(diverged) == len(plan.seeds) * len(plan.arms):
        raise diverged[0]
    return Ablations(tuple(outcomes))


@dataclass(frozen=True)
class _Arm:
    """One training to be done."""

    name: str
    config: DistillationConfig
    teacher: Program
    student: Program

    def train(self, data: Table, validation: Table | None, plan: Plan) -> Distilled:
        """Train it, in a folder of its own; errors say which it was."""
        folder = None if plan.folder is None else plan.folder / _slug(self.name, self.config.seed)
        config, shown = self.config, plan.progress
        try:
            return distill(
                self.teacher, self.student, data, validation=validation, config=config, folder=folder, progress=shown
            )
        except Diverged:
            raise
        except DistillationError as error:
            what = f"{self.name}, seed {self.config.seed}: {error.what}"
            raise DistillationError(what, where=error.where, hint=error.hint) from error


def _without(arm: str, config: DistillationConfig) -> DistillationConfig:
    """Return the config of an arm."""
    if arm == "w/o stage 1":
        return replace(config, layers=None, labels=None)
    if arm == "w/o stage 2":
        return replace(config, logits=None, labels=None)
    if arm == FULL:
        return replace(config, labels=None)
    stages = [stage for name, stage in config.stages() if name != "labels"]
    rate = max((stage.learning_rate for stage in stages), default=0.0)
    labels = config.labels or Stage(sum(stage.epochs for stage in stages), rate, "linear", 0.1)
    return replace(config, layers=None, logits=None, labels=labels)


def _measured(program: Program, table: Table, config: DistillationConfig) -> float:
    regression = is_regression(program, config)
    check_labels(table, logits_shape(program), regression=regression)
    graph = probed(program, program.module, [])
    return metric_of(graph, table, batch_size(program), regression=regression) or 0.0


def _slug(arm: str, seed: int) -> str:
    return f"{arm.replace('/', '').replace(',', '').replace(' ', '-')}-{seed}"
