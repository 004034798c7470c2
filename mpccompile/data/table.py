"""A data set in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

LABELS = "labels"
NO_LABEL = -100
"""The label of what has none, as in torch's cross_entropy."""


@dataclass(frozen=True)
class Table:
    """Rows of inputs, and of labels if there are any.

    Attributes:
        inputs: By name, [rows, ...].
        labels: [rows, ...], or None.
        name: What errors call it: the file, where it came from one.
    """

    inputs: dict[str, Tensor]
    labels: Tensor | None
    name: str = "data"

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def rows(self, index: Tensor | slice) -> Table:
        """Return some rows."""
        inputs = {name: column[index] for name, column in self.inputs.items()}
        return replace(self, inputs=inputs, labels=None if self.labels is None else self.labels[index])

    def limited(self, count: int | None) -> Table:
        """Return the first ``count`` rows, or all."""
        return self if count is None or count >= len(self) else self.rows(slice(count))

    def split(self, share: float, seed: int) -> tuple[Table, Table]:
        """Return the table without some of its rows, and these: ``share`` of them, at least one."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        count = min(len(self) - 1, max(1, round(share * len(self))))
        return self.rows(order[count:].sort().values), self.rows(order[:count].sort().values)

    def to(self, device: str) -> Table:
        """Return the table on a device."""
        labels = None if self.labels is None else self.labels.to(device)
        return replace(self, inputs={name: column.to(device) for name, column in self.inputs.items()}, labels=labels)

    def batches(self, size: int) -> Iterator[tuple[dict[str, Tensor], int]]:
        """Return inputs of ``size`` rows and how many of them count: the last ones repeat a row to be full."""
        for start in range(0, len(self), size):
            rows = torch.arange(start, start + size)
            count = min(size, len(self) - start)
            rows[count:] = start
            yield {name: value[rows] for name, value in self.inputs.items()}, count


@dataclass(frozen=True)
class Named:
    """Data that is still to be read, and what errors call it.

    Attributes:
        columns: The data, in any form.
        name: A file or a function.
    """

    columns: Any
    name: str
