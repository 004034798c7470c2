"""Products and convolutions with an activation, as onnxruntime's optimiser joins them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from mpccompile.capture.from_onnx.ops.conv import conv
from mpccompile.capture.from_onnx.ops.linear import gemm
from mpccompile.capture.from_onnx.registry import Refused, Site, imports
from mpccompile.capture.from_onnx.tensors import short

# Those with a private form. Their numbers, where they are left out, are those of ONNX.
_ACTIVATIONS: dict[str, Callable[..., Tensor]] = {
    "": lambda x: x,
    "Relu": torch.relu,
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
    "LeakyRelu": lambda x, alpha=0.01: functional.leaky_relu(x, alpha),
    "HardSigmoid": lambda x, alpha=0.2, beta=0.5: torch.clamp(x * alpha + beta, 0.0, 1.0),
    "Clip": torch.clamp,
}


def _activated(site: Site, x: Tensor, numbers: Sequence[float]) -> Tensor:
    name = site.attribute("activation", "")
    if name not in _ACTIVATIONS:
        raise Refused(f"the activation {name} in it is not known")
    return _ACTIVATIONS[name](x, *numbers)


@imports("com.microsoft.FusedGemm")
def fused_gemm(site: Site, x: Tensor, y: Tensor, bias: Tensor | None = None) -> Tensor:
    """A Gemm with an activation."""
    numbers = [site.attribute(f"activation_{name}") for name in ("alpha", "beta", "gamma")]
    return _activated(site, gemm(site, x, y, bias), [each for each in numbers if each is not None])


@imports("com.microsoft.FusedConv")
def fused_conv(
    site: Site, x: Tensor, weight: Tensor, bias: Tensor | None = None, added: Tensor | None = None
) -> Tensor:
    """A convolution with an activation, of a sum where a fourth operand is given."""
    answer = conv(site, x, weight, bias)
    numbers = [short(each) for each in site.attribute("activation_params") or ()]
    return _activated(site, answer if added is None else answer + added, numbers)
