"""The stage of text: what comes next, and hidden states that could be the next embedding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from mpccompile.data.table import NO_LABEL
from mpccompile.distill.losses import Values, label_loss, masked_mean
from mpccompile.distill.terms import Terms, labels_of

if TYPE_CHECKING:
    from mpccompile.distill.graphs import Probed
    from mpccompile.distill.match import Pair
    from mpccompile.distill.objective import Batch
    from mpccompile.distill.resent import Resending
    from mpccompile.distill.text_config import TextLoss
    from mpccompile.distill.text_sites import TextSites


def inner_values(sites: TextSites, hidden: Sequence[Pair]) -> list[str]:
    """Return the student's nodes whose values are looked at."""
    return [sites.hidden, sites.table, *(pair.student for pair in hidden)]


@dataclass(frozen=True)
class ByText:
    """The loss of the stage of text.

    Attributes:
        loss: Which terms, and their weights.
        sites: Where the student reads and answers.
        teacher: Its graph; None where nothing is asked of it.
        hidden: Hidden states that are compared.
        resending: How the student reads what it made of a text; None where nothing is resent.
    """

    loss: TextLoss
    sites: TextSites
    teacher: Probed | None = None
    hidden: tuple[Pair, ...] = ()
    resending: Resending | None = None

    def __call__(self, batch: Batch, logits: Tensor, values: Values) -> Terms:
        """Return the weighted terms: their means over the text as it is, and as it is resent."""
        target: tuple[Tensor, Values] | None = None
        if self.teacher is not None:
            with torch.no_grad():
                target = self.teacher(batch.table.inputs)
        readings = [self._terms(batch, logits, values, target)]
        if self.resending is not None:
            starts = self.resending.starts(values[self.sites.hidden])
            for _again in range(self.loss.resent):
                logits, values = self.resending(batch.table.inputs, values, starts)
                readings.append(self._terms(batch, logits, values, target))
        return {name: torch.stack([terms[name] for terms in readings]).mean() for name in readings[0]}

    def _terms(self, batch: Batch, logits: Tensor, values: Values, target: tuple[Tensor, Values] | None) -> Terms:
        labels = labels_of(batch)
        keep = batch.rows.unsqueeze(1) & (labels != NO_LABEL)
        terms = {"tokens": label_loss(logits, labels, batch.rows, regression=False)}
        if target is not None:
            answer, seen = target
            if self.loss.answers:
                terms["answers"] = _softened(answer, logits, keep, self.loss.temperature)
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
