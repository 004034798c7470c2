"""What does not fit a model, named with its row and value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mpccompile.data.table import LABELS, NO_LABEL, Table
from mpccompile.errors import DataError

if TYPE_CHECKING:
    from mpccompile.ir.program import InputSpec

_LIKE_LABELS = frozenset({"label", "target", "targets"})


def expect_values(table: Table, specs: Sequence[InputSpec]) -> None:
    """Refuse numbers that are none, and ids that their table has no row for.

    Raises:
        DataError: Naming the first row, and the id.
    """
    for name, column in table.inputs.items():
        if column.is_floating_point():
            _refuse(column, ~torch.isfinite(column), f"input {name} holds NaN or infinity", table)
    for spec in specs:
        if spec.table_rows is not None:
            column, last = table.inputs[spec.name], spec.table_rows - 1
            wrong = (column < 0) | (column > last)
            hint = f"The table that it is looked up in has {spec.table_rows} rows: was another tokenizer used?"
            _refuse(column, wrong, f"input {spec.name} holds {{}}, an id outside 0..{last}", table, hint)
    if table.labels is not None and table.labels.is_floating_point():
        _refuse(table.labels, ~torch.isfinite(table.labels), f"{LABELS} hold NaN or infinity", table)


def expect_labels(table: Table) -> Tensor:
    """Return the labels.

    Raises:
        DataError: If there are none.
    """
    if table.labels is None:
        raise DataError(
            f"there are no {LABELS}, only {', '.join(table.inputs)}",
            where=table.name,
            hint=f"Add them to each row under the name {LABELS!r}, or leave out what needs them.{rename(table.inputs)}",
        )
    return table.labels


def rename(names: Iterable[str]) -> str:
    """Say which of some names would do as labels under another name, if one does."""
    found = [name for name in names if name in _LIKE_LABELS]
    return f" Rename {found[0]} to {LABELS}." if found else ""


def expect_one_class_a_row(table: Table) -> Tensor:
    """Return the labels of a classification, int64 [rows].

    Raises:
        DataError: If there are none, or something else.
    """
    labels = expect_labels(table)
    if labels.is_floating_point() or labels.dim() != 1:
        raise DataError(
            f"the {LABELS} are {labels.dtype} of shape {list(labels.shape)}",
            where=table.name,
            hint="Give one integer for each row: the class that is right.",
        )
    return labels


def expect_classes(table: Table, classes: int, *, gaps: bool = False) -> None:
    """Refuse labels that are no class of the model.

    Args:
        table: With labels.
        classes: How many the model has.
        gaps: Whether what has no label may be labelled so.

    Raises:
        DataError: Naming the first row with a label outside 0..classes - 1, and the label.
    """
    labels = expect_labels(table)
    wrong = (labels < 0) | (labels >= classes)
    if gaps:
        wrong &= labels != NO_LABEL
    _refuse(labels, wrong, f"{LABELS} hold {{}}, a class outside 0..{classes - 1}", table)


def check_labels(table: Table, logits: Sequence[int], *, regression: bool) -> None:
    """Check the labels against the shape of the logits, [rows, ..., classes].

    Raises:
        DataError: If there are none, or they are of another shape, or no classes.
    """
    labels = expect_labels(table)
    shapes = {tuple(logits[1:-1])} if not regression else {tuple(logits[1:-1]), tuple(logits[1:])}
    if tuple(labels.shape[1:]) not in shapes:
        raise DataError(
            f"{LABELS} have shape {list(labels.shape[1:])} a row, the model answers with {list(logits[1:])}",
            where=table.name,
        )
    if regression:
        return
    if labels.is_floating_point():
        raise DataError(f"{LABELS} are {labels.dtype}, not numbers of classes", where=table.name)
    expect_classes(table, logits[-1], gaps=True)


def _refuse(column: Tensor, wrong: Tensor, problem: str, table: Table, hint: str = "") -> None:
    """Raise for the first row where something is wrong; ``{}`` in the problem becomes the value there."""
    if bool(wrong.any()):
        row = int(wrong.reshape(len(wrong), -1).any(1).nonzero()[0])
        value = column[row][wrong[row]].flatten()[0].item()
        raise DataError(problem.format(value), where=f"row {row} of {table.name}", hint=hint)
