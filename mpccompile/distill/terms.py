"""What the loss of each stage is the sum of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from mpccompile.distill.losses import LayerLoss, LogitLoss, Values, label_loss

if TYPE_CHECKING:
    from mpccompile.distill.graphs import Probed
    from mpccompile.distill.objective import Batch

Terms = dict[str, Tensor]


class Stated(Protocol):
    """The loss of a stage, once the student has answered."""

    def __call__(self, batch: Batch, logits: Tensor, values: Values) -> Terms:
        """Return terms by name; their sum is minimised.

        Args:
            batch: What was asked.
            logits: The student's answer, [N, ..., classes].
            values: Its inner values by name.
        """


@dataclass(frozen=True)
class ByLabels:
    """Be right by the labels.

    Attributes:
        regression: Whether they are numbers.
    """

    regression: bool

    def __call__(self, batch: Batch, logits: Tensor, values: Values) -> Terms:  # noqa: ARG002 - none is compared
        """Return one term."""
        return {"labels": label_loss(logits, labels_of(batch), batch.rows, regression=self.regression)}


@dataclass(frozen=True)
class ByLayers:
    """Be like the teacher inside.

    Attributes:
        teacher: Its graph.
        loss: What is compared, and how.
    """

    teacher: Probed
    loss: LayerLoss

    def __call__(self, batch: Batch, logits: Tensor, values: Values) -> Terms:  # noqa: ARG002 - not the answer
        """Return a term for attention scores and one for hidden states."""
        with torch.no_grad():
            _target, seen = self.teacher(batch.table.inputs)
        return self.loss(seen, values, batch.rows)


@dataclass(frozen=True)
class ByAnswers:
    """Answer as the teacher does.

    Attributes:
        teacher: Its graph.
        loss: How answers are compared.
    """

    teacher: Probed
    loss: LogitLoss

    def __call__(self, batch: Batch, logits: Tensor, values: Values) -> Terms:  # noqa: ARG002 - the answer alone
        """Return one term."""
        with torch.no_grad():
            target, seen = self.teacher(batch.table.inputs)
        return {"logits": self.loss(target, logits, batch.rows, seen)}


def labels_of(batch: Batch) -> Tensor:
    """Return the labels of a batch whose table was checked to have them."""
    if batch.table.labels is None:
        raise ValueError("the labels were checked before")
    return batch.table.labels
