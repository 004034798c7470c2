"""Distillation in one call."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from mpccompile.data.checks import check_labels
from mpccompile.distill import program as programs
from mpccompile.distill.config import DistillationConfig
from mpccompile.distill.data import read
from mpccompile.distill.graphs import check_rows, weights_of, with_weights
from mpccompile.distill.match import Pair, match
from mpccompile.distill.objective import is_regression, logits_shape, seen_names
from mpccompile.distill.progress import Bar
from mpccompile.distill.result import Distilled
from mpccompile.distill.trainer import Job, Trainer
from mpccompile.errors import DistillationError
from mpccompile.ir.program import Program
from mpccompile.options import Options

if TYPE_CHECKING:
    from mpccompile.data.table import Table


def distill(
    teacher: nn.Module | Program | None,
    student: Program,
    data: Any,
    *,
    validation: Any = None,
    config: DistillationConfig | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> Distilled:
    """Train the student to compute what the teacher does: first layer by layer, then its answers.

    The weights to start from are the student's; neither its program nor the teacher is changed. Batches are of the size
    that the student was captured with. Each epoch goes through the rows in another order; its last batch, when rows
    are missing, repeats rows that no loss counts.

    Args:
        teacher: A model, or its program; None when only labels are learned.
        student: A program of the same architecture, as :func:`mpccompile.program` makes it.
        data: Rows to train on: see :func:`mpccompile.data.read.read` for what it may be.
        validation: Rows to select weights by, of the same form. Report on others.
        config: How; the defaults are MPCFormer's without its quirks.
        folder: Where checkpoints and a log go. A run that was killed goes on from there when it is called again.
        progress: Whether to show a progress bar.

    Returns:
        The trained student.

    Raises:
        DataError: If the data does not fit the student.
        DistillationError: If teacher and student cannot be paired, a number is not finite, or a checkpoint cannot be
            written or is of another run.
    """
    job = prepare(teacher, student, data, validation, config or DistillationConfig())
    place = _folder(folder)
    with Bar(shown=progress) as bar:
        trainer = Trainer(job, place, bar)
        history = trainer.train()
    # An exported program answers on the CPU.
    scores = trainer.scores()
    weights = {name: weight.cpu() for name, weight in weights_of(trainer.module).items()}
    return Distilled(with_weights(student, weights), history, job.config, scores)


def prepare(
    teacher: nn.Module | Program | None, student: Program, data: Any, validation: Any, config: DistillationConfig
) -> Job:
    """Check everything a run needs, before anything is trained.

    Raises:
        DataError: If the data does not fit the student.
        DistillationError: If teacher and student cannot be paired.
    """
    train = read(data, student)
    held = read(validation, student, "validation") if validation is not None else None
    if held is None and config.holdout:
        if len(train) < 2:  # noqa: PLR2004 - one to train on, one to hold out
            raise DistillationError("of one row nothing can be held out", hint="Give more data, or holdout=0.")
        train, held = train.split(config.holdout, config.seed)
    _check_device(config.device)
    mine = teacher_program(teacher, student) if teacher is not None else None
    pairs = _pairs(mine, student, config)
    regression = is_regression(student, config)
    if config.labels is not None or (config.logits is not None and regression and config.regression_on_labels):
        _check_labels(train, held, student, regression=regression)
    elif held is not None and held.labels is not None:
        check_labels(held, logits_shape(student), regression=regression)
    elif config.select == "metric":
        raise DistillationError(
            "select='metric' needs labels in the validation data", hint="Add labels, or select by loss."
        )
    return Job(student, mine, pairs, train, held, config)


def _check_labels(train: Table, held: Table | None, student: Program, *, regression: bool) -> None:
    check_labels(train, logits_shape(student), regression=regression)
    if held is not None:
        check_labels(held, logits_shape(student), regression=regression)


def _check_device(device: str) -> None:
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise DistillationError("there is no CUDA device on this machine", where="device", hint="Use device='cpu'.")


def _folder(folder: str | Path | None) -> Path | None:
    if folder is None:
        return None
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DistillationError(
            f"the folder cannot be made ({error.strerror})", where=str(folder), hint="Choose another folder."
        ) from error
    return place


def teacher_program(teacher: nn.Module | Program, student: Program) -> Program:
    """Return the exact program of a teacher for the student's inputs.

    Raises:
        DistillationError: If it takes other inputs than the student, or answers with another shape.
    """
    inputs = {spec.name: value for spec, value in zip(student.inputs, student.example_inputs, strict=True)}
    program = teacher if isinstance(teacher, Program) else programs.make(teacher, inputs, Options())
    given = [(spec.name, spec.shape) for spec in program.inputs]
    wanted = [(spec.name, spec.shape) for spec in student.inputs]
    if given != wanted:
        raise DistillationError(
            f"the teacher takes {_said(given)} and the student {_said(wanted)}",
            hint="Make both with mpccompile.program, for the same example inputs.",
        )
    if logits_shape(program) != logits_shape(student):
        raise DistillationError(
            f"the teacher answers with shape {list(logits_shape(program))}, the student with"
            f" {list(logits_shape(student))}"
        )
    return program


def _said(inputs: list[tuple[str, tuple[int, ...]]]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in inputs)


def _pairs(teacher: Program | None, student: Program, config: DistillationConfig) -> tuple[Pair, ...]:
    if teacher is None:
        if config.layers is not None or config.logits is not None:
            raise DistillationError("there is no teacher to learn from", hint="Give one, or only labels=Stage(...).")
        return ()
    if config.layers is None:
        check_rows(student, [])
        return _tokens_only(teacher, student)
    pairs = match(teacher, student)
    check_rows(teacher, seen_values(pairs))
    check_rows(student, [pair.student for pair in pairs])
    return pairs


def seen_values(pairs: tuple[Pair, ...]) -> list[str]:
    """Return the teacher's compared values; masks need no row of their own."""
    return seen_names([replace(pair, mask=None, tokens=None) for pair in pairs])


def _tokens_only(teacher: Program, student: Program) -> tuple[Pair, ...]:
    """Return pairs for what they say of padding, where the stage of layers is left out."""
    try:
        return match(teacher, student)
    except DistillationError:
        return ()
