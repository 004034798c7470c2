"""Labelled examples, one row each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mpccompile.errors import InputError

LABELS = "labels"
PAIR = 2


@dataclass(frozen=True)
class Dataset:
    """Examples of a classification task.

    Attributes:
        inputs: The model's inputs by name, [examples, ...] each.
        labels: The right class of each example, int64 [examples].
    """

    inputs: Mapping[str, Tensor]
    labels: Tensor

    def __post_init__(self) -> None:
        _check_labels(self.labels)
        if not self.inputs:
            raise InputError("the data holds labels and no input", hint="Give the model's inputs by name.")
        for name, value in self.inputs.items():
            rows = value.shape[0] if value.dim() else 0
            if rows != len(self):
                raise InputError(
                    f"input {name} has {rows} rows, there are {len(self)} labels",
                    where=f"input {name}",
                    hint="Row i of every input and label i belong to example i.",
                )
            _check_finite(name, value)

    def __len__(self) -> int:
        return int(self.labels.shape[0])

    @classmethod
    def of(cls, data: Any) -> Dataset:
        """Return data as a dataset.

        Args:
            data: A dataset; a dict of tensors by name, ``"labels"`` among them; or an iterable of batches, each such a
                dict or a pair of inputs by name and labels.

        Raises:
            InputError: If labels are missing, or something does not fit together.
        """
        if isinstance(data, cls):
            return data
        if isinstance(data, Mapping):
            return cls(*_split(data))
        if not isinstance(data, Iterable) or isinstance(data, str | bytes | Tensor):
            raise InputError(
                f"data of type {type(data).__name__} holds no labelled examples",
                hint="Give a dict of tensors with 'labels' among them, or batches of such dicts.",
            )
        return cls(*_joined([_batch(batch) for batch in data]))

    def limited(self, count: int | None) -> Dataset:
        """Return the first ``count`` examples, or all."""
        if count is None or count >= len(self):
            return self
        return Dataset({name: value[:count] for name, value in self.inputs.items()}, self.labels[:count])

    def batches(self, size: int) -> Iterator[tuple[dict[str, Tensor], int]]:
        """Return inputs of ``size`` rows and how many of them count: the last ones repeat a row to be full."""
        for start in range(0, len(self), size):
            rows = torch.arange(start, start + size)
            count = min(size, len(self) - start)
            rows[count:] = start
            yield {name: value[rows] for name, value in self.inputs.items()}, count


def _check_finite(name: str, value: Tensor) -> None:
    if value.is_floating_point() and len(value):
        bad = (~value.isfinite()).flatten(1).any(1) if value.dim() > 1 else ~value.isfinite()
        if bool(bad.any()):
            row = int(bad.nonzero()[0])
            raise InputError(f"row {row} of the data holds NaN or infinity", where=f"input {name}")


def _check_labels(labels: Tensor) -> None:
    if labels.is_floating_point() or labels.dim() != 1:
        raise InputError(
            f"the labels are {labels.dtype} of shape {list(labels.shape)}",
            where=LABELS,
            hint="Give one integer for each example: the class that is right.",
        )
    if not labels.numel():
        raise InputError("the data holds no example", where=LABELS)


def _split(batch: Mapping[str, Any]) -> tuple[dict[str, Tensor], Tensor]:
    if LABELS not in batch:
        raise InputError(
            f"the data has no labels, it holds {', '.join(map(str, batch)) or 'nothing'}",
            hint=f"Add the right class of each example under the name {LABELS!r}.",
        )
    tensors = {str(name): torch.as_tensor(value) for name, value in batch.items()}
    labels = tensors.pop(LABELS)
    return tensors, labels


def _batch(batch: Any) -> tuple[dict[str, Tensor], Tensor]:
    if isinstance(batch, Mapping):
        return _split(batch)
    if isinstance(batch, Sequence) and len(batch) == PAIR and isinstance(batch[0], Mapping):
        return _split({**batch[0], LABELS: batch[1]})
    raise InputError(
        f"a batch of type {type(batch).__name__} holds no labelled examples",
        hint="A batch is a dict with 'labels' among its tensors, or a pair of a dict and labels.",
    )


def _joined(batches: Sequence[tuple[dict[str, Tensor], Tensor]]) -> tuple[dict[str, Tensor], Tensor]:
    if not batches:
        raise InputError("the data holds no batch")
    names = list(batches[0][0])
    for index, (inputs, _labels) in enumerate(batches):
        if set(inputs) != set(names):
            raise InputError(f"batch {index} holds {', '.join(inputs)}, the first one {', '.join(names)}")
    try:
        inputs = {name: torch.cat([batch[name] for batch, _ in batches]) for name in names}
        return inputs, torch.cat([labels for _, labels in batches])
    except RuntimeError as error:
        raise InputError(f"the batches do not fit together: {error}", hint="Pad all of them to one length.") from error
