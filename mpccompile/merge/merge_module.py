"""The merge module as it is drawn: six operations for a whole layer, with all linears before the activation folded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mpccompile.merge.constant_attention import Affine, by_head, heads_of, joined
from mpccompile.merge.mixing import Matrix, mixed

if TYPE_CHECKING:
    from transformers import Cache


class MergeModule(nn.Module):
    """In the place of a layer: mix its input's heads, then ``norm(W_2 activation(M x + b))``; nothing is added.

    1 constant attention on raw blocks of x, 2 concatenation, 3 linear M [d, d_I], 4 activation, 5 linear W_2 [d_I, d],
    6 LayerNorm. It is another function than the layer it stands for, whatever its weights: it has to be trained.

    Args:
        matrix: C, for H heads.
        up: M and b.
        activation: Of one variable.
        down: W_2.
        norm: The last operation.
        layer: The layer's number.
    """

    def __init__(
        self,
        matrix: Matrix,
        up: nn.Linear,
        activation: Callable[[Tensor], Tensor],
        down: nn.Linear,
        norm: nn.Module,
        layer: int,
    ) -> None:
        super().__init__()
        self.matrix = matrix
        self.up = up
        self.activation = activation
        self.down = down
        self.norm = norm
        self.layer = layer

    def forward(
        self,
        hidden_states: Tensor,
        past_key_values: Cache | None = None,
        *_ignored: Any,
        position_ids: Tensor | None = None,
        **_ignored_too: Any,
    ) -> Tensor:
        """Return the layer's output [B, T, d]; called as transformers' GPT-2 blocks."""
        blocks = by_head(hidden_states, heads_of(self.matrix))
        weighed = joined(mixed(self.matrix, blocks, self.layer, past_key_values, position_ids))
        answer: Tensor = self.norm(self.down(self.activation(self.up(weighed))))
        return answer


def folded(affine: Affine | None, *linears: nn.Linear) -> nn.Linear:
    """Return one linear that computes what an affine and linears compute one after the other.

    before: ``linear(linear(x * w + b, W_V, b_V), W_1, b_1)``
    after: ``linear(x, W_1 W_V diag(w), ...)``

    Heads are mixed before: each row of C adds up to 1, so that mixing commutes with the affine, shift included.
    Products are taken in float64.
    """
    size = linears[0].in_features
    weight, bias = torch.eye(size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
    if affine is not None:
        weight, bias = torch.diag(affine.weight.detach().double()), affine.bias.detach().double()
    for linear in linears:
        step = linear.weight.detach().double()
        weight, bias = step @ weight, step @ bias
        if linear.bias is not None:
            bias = bias + linear.bias.detach().double()
    whole = nn.Linear(size, linears[-1].out_features, dtype=linears[0].weight.dtype)
    with torch.no_grad():
        whole.weight.copy_(weight)
        whole.bias.copy_(bias)
    return whole
