"""The merge module as it is trained: residuals and LayerNorm stay, queries, keys and softmax go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from mpccompile.merge.mixing import Matrix, mixed

if TYPE_CHECKING:
    from transformers import Cache


class ConstantAttention(nn.Module):
    """In the place of a layer's attention: ``W_O (C (W_V x))``, each head with its own block of C.

    Args:
        matrix: C, for H heads.
        value: W_V, from d to H * D.
        output: W_O, from H * D to d.
        layer: The layer's number.
    """

    def __init__(self, matrix: Matrix, value: nn.Linear, output: nn.Linear, layer: int) -> None:
        super().__init__()
        self.matrix = matrix
        self.value = value
        self.output = output
        self.layer = layer

    def forward(
        self,
        hidden_states: Tensor,
        past_key_values: Cache | None = None,
        position_ids: Tensor | None = None,
        **_ignored: Any,
    ) -> tuple[Tensor, None]:
        """Return what is added to the residual [B, T, d], and no probabilities; called as transformers' attentions."""
        values = by_head(self.value(hidden_states), heads_of(self.matrix))
        weighed = mixed(self.matrix, values, self.layer, past_key_values, position_ids)
        return self.output(joined(weighed)), None


class Affine(nn.Module):
    """A LayerNorm without its statistics, ``x * weight + bias``: it folds into the linear that follows.

    Args:
        weight: [d].
        bias: [d].
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Scale and shift [..., d]."""
        return x * self.weight + self.bias


def heads_of(matrix: Matrix) -> int:
    """Return how many heads a matrix has."""
    return int(matrix.rows(1).shape[0])


def by_head(x: Tensor, heads: int) -> Tensor:
    """Split [B, T, H * D] into [B, H, T, D]."""
    each: Tensor = x.unflatten(-1, (heads, -1))
    return each.transpose(1, 2)


def joined(x: Tensor) -> Tensor:
    """Join [B, H, T, D] to [B, T, H * D]."""
    return x.transpose(1, 2).flatten(2)
