"""The stage of text: what comes next, and hidden states that could be the next embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from mpccompile.distill.data import NO_LABEL
from mpccompile.distill.losses import Values, label_loss, masked_mean
from mpccompile.distill.terms import Terms, labels_of

if TYPE_CHECKING:
    from mpccompile.distill.graphs import Probed
    from mpccompile.distill.match import Pair
    from mpccompile.distill.objective import Batch
    from mpccompile.distill.text_config import TextLoss
    from mpccompile.distill.text_sites import TextSites


@dataclass(frozen=True)
class ByText:
    """The loss of the stage of text.

    Attributes:
        loss: Which terms, and their weights.
        sites: Where the student reads and answers.
        teacher: Its graph; None where nothing is asked of it.
        hidden: Hidden states that are compared.
    """

    loss: TextLoss
    sites: TextSites
    teacher: Probed | None = None
    hidden: tuple[Pair, ...] = ()

    @property
    def inner(self) -> list[str]:
        """The student's nodes whose values are looked at."""
        return [self.sites.hidden, self.sites.table, *(pair.student for pair in self.hidden)]

    def __call__(self, batch: Batch, logits: Tensor, values: Values) -> Terms:
        """Return the weighted terms."""
        labels = labels_of(batch)
        keep = batch.rows.unsqueeze(1) & (labels != NO_LABEL)
        terms = {"tokens": label_loss(logits, labels, batch.rows, regression=False)}
        if self.teacher is not None:
            with torch.no_grad():
                target, seen = self.teacher(batch.table.inputs)
            if self.loss.answers:
                terms["answers"] = _softened(target, logits, keep, self.loss.temperature)
            if self.loss.hidden:
                errors = [(values[pair.student] - seen[pair.teacher]).square().mean(-1) for pair in self.hidden]
                terms["hidden"] = torch.stack([masked_mean(error, keep) for error in errors]).sum()
        share = (1 - self.loss.alignment) / len(terms)
        weighted = {name: share * term for name, term in terms.items()}
        if self.loss.alignment:
            aligned = _misalignment(values[self.sites.hidden], values[self.sites.table], labels, keep)
            weighted["alignment"] = self.loss.alignment * aligned
        return weighted


def _softened(target: Tensor, logits: Tensor, keep: Tensor, temperature: float) -> Tensor:
    likely = torch.softmax(target / temperature, -1)
    entropy = -(likely * torch.log_softmax(logits / temperature, -1)).sum(-1)
    return temperature**2 * masked_mean(entropy, keep)


def _misalignment(hidden: Tensor, table: Tensor, labels: Tensor, keep: Tensor) -> Tensor:
    """Return the mean of 1 - cos between hidden states [N, T, d] and the embeddings of what comes next."""
    following = functional.embedding(labels.clamp(min=0), table)
    return masked_mean(1 - functional.cosine_similarity(hidden, following, -1), keep)
