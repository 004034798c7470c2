"""The vocabulary of private computation: plain typed functions whose body is the plaintext meaning.

Every operation on a secret value in a lowered graph is a call of one of these; ``mpccompile.runtime.functions`` has a
protocol of the same name and the same arguments for each. Operands named ``x`` and ``y`` may be secret; a ``mask`` is
a public bool tensor (True keeps); sizes, dims and scalars are public.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from mpccompile.runtime.forms import LEAST_TOTAL, QUAD_SHIFT

Scalar = float | int


def add(x: Tensor, y: Tensor | Scalar) -> Tensor:
    """``x + y`` with broadcasting."""
    return torch.add(x, y)


def sub(x: Tensor | Scalar, y: Tensor | Scalar) -> Tensor:
    """``x - y`` with broadcasting."""
    return torch.sub(torch.as_tensor(x), y)


def neg(x: Tensor) -> Tensor:
    """``-x``."""
    return torch.neg(x)


def mul(x: Tensor, y: Tensor | Scalar) -> Tensor:
    """``x * y`` element by element, with broadcasting."""
    return torch.mul(x, y)


def square(x: Tensor) -> Tensor:
    """``x * x`` for one opening instead of two."""
    return torch.square(x)


def quadratic(x: Tensor, a: float, b: float, c: float) -> Tensor:
    """``a * x * x + b * x + c``."""
    return a * torch.square(x) + b * x + c


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias``; weight [out, in], bias [out]."""
    return functional.linear(x, weight, bias)


def matmul(x: Tensor, y: Tensor) -> Tensor:
    """Batched matrix product, as torch.matmul."""
    return torch.matmul(x, y)


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Tensor:
    """2-D convolution; x [N, C, H, W], weight [O, C/groups, kh, kw]."""
    return functional.conv2d(x, weight, bias, tuple(stride), tuple(padding), tuple(dilation), groups)


def embedding(ids: Tensor, weight: Tensor) -> Tensor:
    """Rows of ``weight`` [V, D] at integer ``ids``; ids may be secret, and nobody's input."""
    return functional.embedding(ids, weight)


def layer_norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Normalise the last dim to mean 0 and variance 1, then scale and shift."""
    return functional.layer_norm(x, (x.shape[-1],), weight, bias, eps)


def rms_norm(x: Tensor, weight: Tensor | None = None, eps: float = 1e-6) -> Tensor:
    """Divide the last dim by its root mean square, then scale."""
    normal = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    return normal if weight is None else normal * weight


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """GELU, with ``approximate`` "none" (erf) or "tanh"."""
    return functional.gelu(x, approximate=approximate)


def silu(x: Tensor) -> Tensor:
    """``x * sigmoid(x)``."""
    return functional.silu(x)


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return torch.tanh(x)


def sigmoid(x: Tensor) -> Tensor:
    """``1 / (1 + exp(-x))``."""
    return torch.sigmoid(x)


def relu(x: Tensor) -> Tensor:
    """``max(x, 0)``."""
    return torch.relu(x)


def argmax(x: Tensor) -> Tensor:
    """Place of the first of the largest of the last dim, an integer: [...] of x [..., n]."""
    return torch.argmax(x, -1)


def exp(x: Tensor) -> Tensor:
    """``e ** x``."""
    return torch.exp(x)


def reciprocal(x: Tensor) -> Tensor:
    """``1 / x``."""
    return torch.reciprocal(x)


def rsqrt(x: Tensor) -> Tensor:
    """``x ** -0.5``."""
    return torch.rsqrt(x)


def softmax(x: Tensor, mask: Tensor | None = None, form: str = "exp") -> Tensor:
    """Weights over the last dim that add up to 1; entries where ``mask`` is False get 0.

    ``form`` is one of ``runtime.forms.FORMS``: "exp" is softmax; "2quad" divides (x + 5)^2 by its sum; "2relu" divides
    max(x, 0) by its sum, or by 2^-6 where that is larger, so that a row without a positive entry gives 0.

    ``mask`` is a public bool tensor (or a secret one of 0 and 1) that broadcasts to ``x``. A row with no True gives 0.
    """
    keep = mask if mask is None or mask.dtype == torch.bool else mask > 0.5  # noqa: PLR2004 - a secret one holds 0.0, 1.0
    if form != "exp":
        return _divided(x if keep is None else x.masked_fill(~keep, _WEIGHTLESS[form]), form)
    if keep is None:
        return torch.softmax(x, -1)
    return torch.nan_to_num(torch.softmax(x.masked_fill(~keep, -math.inf), -1), nan=0.0)


_WEIGHTLESS = {"2quad": -QUAD_SHIFT, "2relu": 0.0}


def _divided(x: Tensor, form: str) -> Tensor:
    weights = torch.relu(x) if form == "2relu" else torch.square(x + QUAD_SHIFT)
    total = weights.sum(-1, keepdim=True)
    return weights / (total.clamp(min=LEAST_TOTAL) if form == "2relu" else torch.where(total > 0, total, 1.0))


def attend(x: Tensor, y: Tensor, mask: Tensor | None = None, form: str = "exp") -> Tensor:
    """``softmax(x, mask, form) @ y``: scores x [..., rows, columns], values y [..., columns, width]."""
    return torch.matmul(softmax(x, mask, form), y)


def where(mask: Tensor, x: Tensor | Scalar, y: Tensor | Scalar) -> Tensor:
    """``x`` where the public bool ``mask`` is True, else ``y``."""
    return torch.where(mask, x, y)


def mean(x: Tensor, dims: Sequence[int], keepdim: bool = False) -> Tensor:
    """Mean over ``dims``."""
    return torch.mean(x, tuple(dims), keepdim)


def sum(x: Tensor, dims: Sequence[int], keepdim: bool = False) -> Tensor:  # noqa: A001 - the field's name for it
    """Sum over ``dims``."""
    return torch.sum(x, tuple(dims), keepdim)


def max_pool2d(x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int] = (0, 0)) -> Tensor:
    """Largest value in each window of x [N, C, H, W]."""
    return functional.max_pool2d(x, tuple(kernel), tuple(stride), tuple(padding))


def avg_pool2d(x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int] = (0, 0)) -> Tensor:
    """Mean of each window of x [N, C, H, W], padding counted."""
    return functional.avg_pool2d(x, tuple(kernel), tuple(stride), tuple(padding))


def reshape(x: Tensor, shape: Sequence[int]) -> Tensor:
    """The same elements in another shape, given in full (no -1)."""
    return torch.reshape(x, tuple(shape))


def permute(x: Tensor, dims: Sequence[int]) -> Tensor:
    """Dims in another order."""
    return torch.permute(x, tuple(dims))


def expand(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Broadcast to ``shape``, given in full (no -1)."""
    return x.expand(tuple(shape))


def take(x: Tensor, dim: int, start: int, stop: int, step: int = 1) -> Tensor:
    """``x[start:stop:step]`` along ``dim``."""
    index = [slice(None)] * x.dim()
    index[dim] = slice(start, stop, step)
    return x[tuple(index)]


def concat(xs: Sequence[Tensor], dim: int) -> Tensor:
    """Concatenate along ``dim``."""
    return torch.cat(tuple(xs), dim)


def gather_rows(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """``x`` at the public integer ``index`` [n] along ``dim``."""
    return torch.index_select(x, dim, index)
