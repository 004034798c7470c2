"""The losses of both stages; rows that only fill up a batch never count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from mpccompile.data.table import NO_LABEL

if TYPE_CHECKING:
    from mpccompile.distill.match import Pair, Tokens

# MPCFormer's and TinyBERT's code takes a score at or below this for a masked one.
_MASKED = -1e2

Values = Mapping[str, Tensor]


def masked_mean(values: Tensor, keep: Tensor) -> Tensor:
    """Return the mean of the values that are kept; ``keep`` broadcasts to them. Of none it is 0."""
    wide = keep.expand_as(values)
    return torch.where(wide, values, 0.0).sum() / wide.sum().clamp(min=1)


def _beside(rows: Tensor, values: Tensor) -> Tensor:
    """Shape ``rows`` [N] so that it broadcasts to values whose first dim is N, or N times some heads."""
    each = rows.repeat_interleave(values.shape[0] // len(rows))
    return each.reshape(-1, *[1] * (values.dim() - 1))


def real_tokens(tokens: Tokens, teacher: Values, rows: int) -> Tensor:
    """Return which tokens are real, [N, T]: those that some token may look at, in some head."""
    mask = _as_bool(teacher[tokens.mask]).expand(tokens.shape)
    return mask.reshape(rows, -1, tokens.shape[-1]).any(1)


def _as_bool(mask: Tensor) -> Tensor:
    return mask if mask.dtype == torch.bool else mask > 0.5  # noqa: PLR2004 - a secret mask holds 0.0 and 1.0


@dataclass(frozen=True)
class LayerLoss:
    """The first stage: squared errors of attention scores and hidden states, each a mean, added up.

    MPCFormer (Li et al., 2023) after TinyBERT (Jiao et al., 2020).

    Attributes:
        pairs: What is compared.
        count_padding: Masked scores count as 0 for both, and padding like other tokens, as in MPCFormer's code.
            Otherwise what is masked or padding is left out.
    """

    pairs: tuple[Pair, ...]
    count_padding: bool = False

    def __call__(self, teacher: Values, student: Values, rows: Tensor) -> dict[str, Tensor]:
        """Return the sum over all attentions and over all hidden states.

        Args:
            teacher: Values by name of the teacher's nodes.
            student: Values by name of the student's.
            rows: Which rows count, bool [N].
        """
        sums = {kind: rows.new_zeros((), dtype=torch.float32) for kind in ("attention", "hidden")}
        for pair in self.pairs:
            sums[pair.kind] = sums[pair.kind] + self._one(pair, teacher, student[pair.student], rows)
        return sums

    def _one(self, pair: Pair, teacher: Values, student: Tensor, rows: Tensor) -> Tensor:
        target = teacher[pair.teacher]
        keep = _beside(rows, target)
        mask = _as_bool(teacher[pair.mask]).expand_as(target) if pair.mask is not None else None
        if self.count_padding:
            if pair.kind == "attention":
                student, target = (_zeroed(value, mask) for value in (student, target))
            return masked_mean((student - target).square(), keep)
        if mask is not None:
            keep = keep & mask
        if pair.tokens is not None:
            keep = keep & _token_rows(pair, real_tokens(pair.tokens, teacher, len(rows)), target)
        return masked_mean((student - target).square(), keep)


def _zeroed(scores: Tensor, mask: Tensor | None) -> Tensor:
    keep = scores > _MASKED
    return torch.where(keep if mask is None else keep & mask, scores, 0.0)


def _token_rows(pair: Pair, real: Tensor, target: Tensor) -> Tensor:
    """Return which entries belong to real tokens: rows of scores, or tokens of a hidden state."""
    at = target.dim() - 2 if pair.kind == "attention" else 1
    if target.dim() <= at or target.shape[at] != real.shape[1]:
        return torch.ones((), dtype=torch.bool, device=target.device)
    each = real.repeat_interleave(target.shape[0] // len(real), dim=0)
    shape = [1] * target.dim()
    shape[0], shape[at] = each.shape
    return each.reshape(shape)


@dataclass(frozen=True)
class LogitLoss:
    """The second stage: be like the teacher's answers.

    Cross-entropy with the teacher's distribution (Hinton et al., "Distilling the knowledge in a neural network", 2015,
    without the factor of temperature squared), or the squared error for regression.

    Attributes:
        regression: Whether the answers are numbers.
        temperature: Divides both logits.
        mean_over_classes: Also divide by the number of classes.
        tokens: Which tokens are real, for answers [N, T, classes].
    """

    regression: bool
    temperature: float = 1.0
    mean_over_classes: bool = False
    tokens: Tokens | None = None

    def __call__(self, teacher: Tensor, student: Tensor, rows: Tensor, values: Values) -> Tensor:
        """Return the loss of logits [N, ..., classes]; ``values`` holds the mask that ``tokens`` names."""
        keep = self._keep(student, rows, values)
        if self.regression:
            return masked_mean((student - teacher).square().mean(-1), keep)
        target = torch.softmax(teacher / self.temperature, -1)
        entropy = -(target * torch.log_softmax(student / self.temperature, -1)).sum(-1)
        return masked_mean(entropy / (student.shape[-1] if self.mean_over_classes else 1), keep)

    def _keep(self, logits: Tensor, rows: Tensor, values: Values) -> Tensor:
        keep = _beside(rows, logits[..., 0])
        if self.tokens is not None and logits.shape[1:-1] == self.tokens.shape[-1:]:
            keep = keep & real_tokens(self.tokens, values, len(rows))
        return keep


def label_loss(logits: Tensor, labels: Tensor, rows: Tensor, *, regression: bool) -> Tensor:
    """Return cross-entropy of logits [N, ..., classes] with labels [N, ...], or the squared error of numbers."""
    if regression:
        error = (logits - labels.reshape(logits.shape).to(logits.dtype)).square().mean(-1)
        return masked_mean(error, _beside(rows, error))
    flat = functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), ignore_index=NO_LABEL, reduction="none"
    )
    keep = _beside(rows, labels) & (labels != NO_LABEL)
    return masked_mean(flat.reshape(labels.shape), keep)
