"""Rearrangements of elements: linear, local, and the same for a share, a public difference or a mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def take(x: Tensor, dim: int, start: int, stop: int, step: int) -> Tensor:
    """``x[start:stop:step]`` along ``dim``."""
    index = [slice(None)] * x.dim()
    index[dim] = slice(start, stop, step)
    return x[tuple(index)]


def windows(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> Tensor:
    """Sliding windows of x [N, C, H, W] as [N, rows, columns, C, kh, kw]; padding is zero, a valid share of zero."""
    x = torch.nn.functional.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    rows = (x.shape[2] - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1
    columns = (x.shape[3] - dilation[1] * (kernel[1] - 1) - 1) // stride[1] + 1
    row_index = (torch.arange(rows) * stride[0])[:, None] + torch.arange(kernel[0]) * dilation[0]
    column_index = (torch.arange(columns) * stride[1])[:, None] + torch.arange(kernel[1]) * dilation[1]
    picked = x[:, :, row_index.to(x.device)[:, :, None, None], column_index.to(x.device)[None, None]]
    return picked.permute(0, 2, 4, 1, 3, 5).contiguous()


VIEWS: dict[str, Callable[..., Tensor]] = {
    "reshape": lambda x, shape: x.reshape(shape),
    "permute": lambda x, dims: x.permute(dims),
    "expand": lambda x, shape: x.expand(shape),
    "take": take,
    "windows": windows,
    "gather_rows": lambda x, dim, index: torch.index_select(x, dim, torch.as_tensor(index, device=x.device)),
}


def view(name: str, x: Tensor, params: Sequence[Any]) -> Tensor:
    """Apply the named rearrangement."""
    return VIEWS[name](x, *params)
