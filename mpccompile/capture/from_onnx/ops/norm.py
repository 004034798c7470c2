"""Normalisations."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mpccompile.capture.from_onnx.registry import Answer, Site, imports

# Changes no norm that fixed point can tell from 0, and lets a vector of 0 have one.
_TINY = 1e-12


@imports("LayerNormalization")
def layer_norm(site: Site, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Layer norm over the dims from ``axis`` on."""
    sizes = x.shape[site.attribute("axis", -1) :]
    return functional.layer_norm(x, sizes, _wide(weight, sizes), _wide(bias, sizes), site.attribute("epsilon", 1e-5))


@imports("RMSNormalization", "SimplifiedLayerNormalization", "com.microsoft.SimplifiedLayerNormalization")
def rms_norm(site: Site, x: Tensor, weight: Tensor) -> Tensor:
    """RMS norm over the dims from ``axis`` on."""
    sizes = x.shape[site.attribute("axis", -1) :]
    return functional.rms_norm(x, sizes, _wide(weight, sizes), site.attribute("epsilon", 1e-5))


def _wide(vector: Tensor | None, sizes: torch.Size) -> Tensor | None:
    return vector if vector is None or vector.shape == sizes else vector.expand(sizes)


@imports("com.microsoft.SkipLayerNormalization")
def skip_layer_norm(
    site: Site, x: Tensor, skip: Tensor, weight: Tensor, beta: Tensor | None = None, bias: Tensor | None = None
) -> Answer:
    """Layer norm of a sum, and the sum."""
    total = _summed(x, skip, bias)
    normal = functional.layer_norm(total, total.shape[-1:], weight, beta, site.attribute("epsilon", 1e-12))
    return normal, None, None, total


@imports("com.microsoft.SkipSimplifiedLayerNormalization")
def skip_rms_norm(site: Site, x: Tensor, skip: Tensor, weight: Tensor, bias: Tensor | None = None) -> Answer:
    """RMS norm of a sum, and the sum."""
    total = _summed(x, skip, bias)
    return functional.rms_norm(total, total.shape[-1:], weight, site.attribute("epsilon", 1e-12)), None, None, total


def _summed(x: Tensor, skip: Tensor, bias: Tensor | None) -> Tensor:
    return x + skip if bias is None else (x + bias) + skip


@imports("BatchNormalization")
def batch_norm(site: Site, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    """Batch norm with the statistics in the file."""
    return functional.batch_norm(x, mean, var, weight, bias, eps=site.attribute("epsilon", 1e-5))


@imports("InstanceNormalization")
def instance_norm(site: Site, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Each channel of x [N, C, ...] normalised by itself."""
    return functional.group_norm(x, x.shape[1], weight, bias, site.attribute("epsilon", 1e-5))


@imports("GroupNormalization")
def group_norm(site: Site, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Groups of channels of x [N, C, ...] normalised; before opset 21 the weights are per group."""
    groups = site.attribute("num_groups")
    if weight.shape[0] != x.shape[1]:
        weight, bias = (each.repeat_interleave(x.shape[1] // groups) for each in (weight, bias))
    return functional.group_norm(x, groups, weight, bias, site.attribute("epsilon", 1e-5))


@imports("MeanVarianceNormalization")
def mean_variance_norm(site: Site, x: Tensor) -> Tensor:
    """Mean 0 and variance 1 over some dims; as ONNX does it, 1e-9 is added to the deviation, which is left out here."""
    axes = site.attribute("axes", [0, 2, 3])
    far = x - torch.mean(x, axes, keepdim=True)
    return far * torch.rsqrt(torch.mean(far * far, axes, keepdim=True))


@imports("LpNormalization")
def lp_norm(site: Site, x: Tensor) -> Tensor:
    """Each vector along one axis divided by its norm, of order 1 or 2; a vector of 0 stays 0."""
    return lp_norm_of(x, site.attribute("axis", -1), site.attribute("p", 2))


def lp_norm_of(x: Tensor, axis: int, order: int) -> Tensor:
    """Return ``x`` with each vector along an axis divided by its norm."""
    if order == 1:
        return x / (torch.sum(torch.abs(x), axis, keepdim=True) + _TINY)
    return x * torch.rsqrt(torch.sum(x * x, axis, keepdim=True) + _TINY)


@imports("LRN", private=False)
def local_response_norm(site: Site, x: Tensor) -> Tensor:
    """Each channel divided by a power of what its neighbours hold."""
    size, alpha = site.attribute("size"), site.attribute("alpha", 1e-4)
    return functional.local_response_norm(x, size, alpha, site.attribute("beta", 0.75), site.attribute("bias", 1.0))
