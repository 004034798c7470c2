"""Matrix products."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mpccompile.capture.from_onnx.registry import Site, imports

_MATRIX = 2


@imports("MatMul")
def matmul(_site: Site, x: Tensor, y: Tensor) -> Tensor:
    """Batched matrix product."""
    return torch.matmul(x, y)


@imports("Gemm")
def gemm(site: Site, x: Tensor, y: Tensor, bias: Tensor | None = None) -> Tensor:
    """``alpha * x @ y + beta * bias``, each factor as it is or transposed."""
    x = x.t() if site.attribute("transA", 0) else x
    alpha, beta = site.attribute("alpha", 1.0), site.attribute("beta", 1.0)
    is_vector = bias is None or (bias.dim() == 1 and bias.shape[0] == y.shape[0])
    if site.attribute("transB", 0) and alpha == 1 and beta == 1 and is_vector:
        return functional.linear(x, y, bias)
    product = torch.matmul(x, y.t() if site.attribute("transB", 0) else y)
    product = product if alpha == 1 else product * alpha
    if bias is None:
        return product
    return product + (bias if beta == 1 else bias * beta)


@imports("com.microsoft.FusedMatMul", "com.microsoft.TransposeMatMul")
def fused_matmul(site: Site, x: Tensor, y: Tensor) -> Tensor:
    """``alpha * x @ y``, each factor as it is, with its last two dims exchanged, or its first dim before the last."""
    x, y = _turned(site, x, "A"), _turned(site, y, "B")
    product, alpha = torch.matmul(x, y), site.attribute("alpha", 1.0)
    return product if alpha == 1 else product * alpha


def _turned(site: Site, x: Tensor, side: str) -> Tensor:
    batch, last = site.attribute(f"transBatch{side}", 0), site.attribute(f"trans{side}", 0)
    # [T, B, ..., D] to [B, ..., T, D], as attention over texts that lie side by side has it.
    x = x.movedim(0, -2) if batch and x.dim() > _MATRIX else x
    return x.transpose(-1, -2) if last and x.dim() >= _MATRIX else x


@imports("Einsum")
def einsum(site: Site, *operands: Tensor) -> Tensor:
    """A sum of products in Einstein's notation."""
    return torch.einsum(site.attribute("equation").replace(" ", ""), *operands)
