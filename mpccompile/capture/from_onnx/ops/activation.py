"""Activations, each a function of one value, and softmax."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mpccompile.capture.from_onnx.registry import Site, imports
from mpccompile.capture.from_onnx.rewrites import SAFE_SOFTMAX


@imports("Relu")
def relu(_site: Site, x: Tensor) -> Tensor:
    """``max(x, 0)``."""
    return torch.relu(x)


@imports("Sigmoid")
def sigmoid(_site: Site, x: Tensor) -> Tensor:
    """``1 / (1 + exp(-x))``."""
    return torch.sigmoid(x)


@imports("Tanh")
def tanh(_site: Site, x: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return torch.tanh(x)


@imports("Gelu", "com.microsoft.Gelu")
def gelu(site: Site, x: Tensor) -> Tensor:
    """GELU with erf, or with tanh where the file says so."""
    return functional.gelu(x, approximate=site.attribute("approximate", "none"))


@imports("com.microsoft.BiasGelu")
def bias_gelu(_site: Site, x: Tensor, bias: Tensor) -> Tensor:
    """GELU with erf, of a sum."""
    return functional.gelu(x + bias)


@imports("com.microsoft.FastGelu")
def fast_gelu(_site: Site, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """GELU with tanh, of a sum where there is a bias."""
    return functional.gelu(x if bias is None else x + bias, approximate="tanh")


@imports("com.microsoft.QuickGelu")
def quick_gelu(site: Site, x: Tensor) -> Tensor:
    """``x * sigmoid(alpha * x)``."""
    return x * torch.sigmoid(x * site.factor("alpha", 1.702))


@imports("Swish")
def swish(site: Site, x: Tensor) -> Tensor:
    """``x * sigmoid(alpha * x)``."""
    alpha = site.factor("alpha", 1.0)
    return functional.silu(x) if alpha == 1 else x * torch.sigmoid(x * alpha)


@imports("LeakyRelu")
def leaky_relu(site: Site, x: Tensor) -> Tensor:
    """``x`` above 0, a part of it below."""
    return functional.leaky_relu(x, site.factor("alpha", 0.01))


@imports("PRelu")
def prelu(_site: Site, x: Tensor, slope: Tensor) -> Tensor:
    """As a leaky ReLU with weights for slopes."""
    return torch.relu(x) - slope * torch.relu(-x)


@imports("ThresholdedRelu", private=False)
def thresholded_relu(site: Site, x: Tensor) -> Tensor:
    """``x`` above a threshold, 0 elsewhere."""
    return torch.where(x > site.factor("alpha", 1.0), x, 0.0)


@imports("HardSigmoid")
def hard_sigmoid(site: Site, x: Tensor) -> Tensor:
    """A line between 0 and 1."""
    return torch.clamp(x * site.factor("alpha", 0.2) + site.factor("beta", 0.5), 0.0, 1.0)


@imports("HardSwish")
def hard_swish(_site: Site, x: Tensor) -> Tensor:
    """``x * clip(x / 6 + 1 / 2, 0, 1)``."""
    return x * torch.clamp(x / 6.0 + 0.5, 0.0, 1.0)


@imports("Elu")
def elu(site: Site, x: Tensor) -> Tensor:
    """``x`` above 0, ``alpha * (exp(x) - 1)`` below."""
    return torch.relu(x) + (torch.exp(-torch.relu(-x)) - 1.0) * site.factor("alpha", 1.0)


@imports("Celu")
def celu(site: Site, x: Tensor) -> Tensor:
    """``x`` above 0, ``alpha * (exp(x / alpha) - 1)`` below."""
    alpha = site.factor("alpha", 1.0)
    return torch.relu(x) + (torch.exp(-torch.relu(-x) / alpha) - 1.0) * alpha


@imports("Selu")
def selu(site: Site, x: Tensor) -> Tensor:
    """A scaled ELU, with the constants of Klambauer et al., "Self-Normalizing Neural Networks"."""
    alpha = site.factor("alpha", 1.67326319217681884765625)
    gamma = site.factor("gamma", 1.05070102214813232421875)
    return (torch.relu(x) + (torch.exp(-torch.relu(-x)) - 1.0) * alpha) * gamma


@imports("Shrink", "Softplus", "Mish", private=False)
def public_activation(site: Site, x: Tensor) -> Tensor:
    """An activation that public values alone go through."""
    if site.op == "Softplus":
        return functional.softplus(x)
    if site.op == "Mish":
        return functional.mish(x)
    bias, edge = site.factor("bias", 0.0), site.factor("lambd", 0.5)
    return torch.where(x < -edge, x + bias, torch.where(x > edge, x - bias, torch.zeros_like(x))).to(x.dtype)


@imports("Softsign")
def softsign(_site: Site, x: Tensor) -> Tensor:
    """``x / (1 + |x|)``."""
    return x / (torch.abs(x) + 1.0)


@imports("Softmax")
def softmax(site: Site, x: Tensor) -> Tensor:
    """Softmax along one axis."""
    return torch.softmax(x, site.attribute("axis", -1))


@imports(SAFE_SOFTMAX)
def safe_softmax(site: Site, x: Tensor) -> Tensor:
    """Softmax with 0 in rows of -inf alone: how exporters write torch's attention."""
    weights: Tensor = torch.ops.aten._safe_softmax.default(x, site.attribute("axis", -1))  # noqa: SLF001 - its ATen name
    return weights


@imports("LogSoftmax", private=False)
def log_softmax(site: Site, x: Tensor) -> Tensor:
    """The logarithm of a softmax."""
    return torch.log_softmax(x, site.attribute("axis", -1))


@imports("Hardmax", private=False)
def hardmax(site: Site, x: Tensor) -> Tensor:
    """1 at the largest element along one axis, 0 elsewhere."""
    axis = site.attribute("axis", -1)
    return torch.zeros_like(x).scatter(axis, torch.argmax(x, axis, keepdim=True), 1.0)
