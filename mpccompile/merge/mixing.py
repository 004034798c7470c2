"""Attention that is the same for every text: a matrix for each head weighs the rows of a layer's input."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mpccompile.errors import InputError

if TYPE_CHECKING:
    from transformers import Cache

_LEAST_WEIGHT = 1e-6
"""What a weight that is 0 in the teacher's average starts from: its logarithm has to be a number."""


def causal(length: int, device: torch.device | None = None) -> Tensor:
    """Return which row may look at which, bool [length, length]: at itself and at what came before."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


class TrainedMatrix(nn.Module):
    """A matrix to train: the rows of scores become weights by softmax, so that each adds up to 1.

    Args:
        weights: What to start from, [H, L, L]: rows of weights, such as a teacher's average attention.
    """

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.scores = nn.Parameter(weights.clamp(min=_LEAST_WEIGHT).log())

    @property
    def length(self) -> int:
        """How many positions it was made for."""
        return self.scores.shape[-1]

    def rows(self, length: int | None = None) -> Tensor:
        """Return the weights [H, n, n] of the first ``length`` positions, 0 where a row would look ahead."""
        size = self.length if length is None else length
        scores = self.scores[:, :size, :size]
        return torch.softmax(scores.masked_fill(~causal(size, scores.device), -math.inf), -1)


class FixedMatrix(nn.Module):
    """A matrix that is trained: stored as the weights themselves.

    Args:
        weights: [H, L, L], with rows that add up to 1 and look back only.
        public: Whether all parties may know it. It then costs no opening; otherwise it is a weight like others.
    """

    def __init__(self, weights: Tensor, *, public: bool) -> None:
        super().__init__()
        # What a state dict holds belongs to the model's owner; other buffers are constants that everybody reads.
        self.register_buffer("weights", weights, persistent=not public)
        self.weights: Tensor
        self.public = public

    @property
    def length(self) -> int:
        """How many positions it was made for."""
        return self.weights.shape[-1]

    def rows(self, length: int | None = None) -> Tensor:
        """Return the weights [H, n, n] of the first ``length`` positions."""
        return self.weights if length is None else self.weights[:, :length, :length]


Matrix = TrainedMatrix | FixedMatrix


def mixed(
    matrix: Matrix, values: Tensor, layer: int, past: Cache | None = None, positions: Tensor | None = None
) -> Tensor:
    """Weigh rows: ``C[:, :t, :t] @ values``, of a text from its start, or of what follows a cache of rows.

    Args:
        matrix: C.
        values: Rows by head, [B, H, T, D].
        layer: The layer's number in the cache.
        past: Rows [B, H, S, D] that came before; where its first ``positions`` are filled, the rest does not matter.
        positions: Of the T rows, [B or 1, T], the same for all texts of the batch; needed where there is a cache.

    Returns:
        [B, H, T, D].

    Raises:
        InputError: If the text is longer than the matrix.
    """
    count = values.shape[-2]
    whole = values if past is None else past.update(values, values, layer)[1]
    held = whole.shape[-2] - count
    if count > matrix.length:
        raise InputError(
            f"a text of {count} tokens is longer than the {matrix.length} positions of the constant attention",
            hint="Shorten the text, or merge the model for more positions.",
        )
    if not held:
        return torch.matmul(matrix.rows(count), values)
    if positions is None:
        raise InputError("rows that follow a cache need their positions", where="argument position_ids")
    return torch.matmul(_rows_after(matrix, held, positions[0]), whole)


def _rows_after(matrix: Matrix, held: int, positions: Tensor) -> Tensor:
    """Return weights [H, T, S + T] for rows at some positions that follow a cache of S rows, filled up to the first."""
    rows = matrix.rows().index_select(1, positions)
    filled = torch.arange(held, device=positions.device) < positions[0]
    before = torch.where(filled, rows[..., :held], 0.0)
    return torch.cat([before, rows.index_select(2, positions)], -1)
