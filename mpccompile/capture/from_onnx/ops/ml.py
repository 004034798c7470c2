"""Operators of ONNX's domain for models that are not networks."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from mpccompile.capture.from_onnx.ops.norm import lp_norm_of
from mpccompile.capture.from_onnx.registry import Refused, Site, imports

_ORDERS = {"L1": 1, "L2": 2}


@imports("ai.onnx.ml.Scaler")
def scaler(_site: Site, x: Tensor, offset: Tensor | None, scale: Tensor | None) -> Tensor:
    """``(x - offset) * scale``, by feature."""
    x = x if offset is None else x - offset
    return x if scale is None else x * scale


@imports("ai.onnx.ml.LinearRegressor")
def linear_regressor(site: Site, x: Tensor, coefficients: Tensor, intercepts: Tensor | None) -> Tensor:
    """A linear model of one target or more."""
    transform = site.attribute("post_transform", "NONE")
    site.attribute("targets")
    if transform != "NONE":
        raise Refused(f"the transform {transform} of its answer is not known")
    return functional.linear(x, coefficients, intercepts)


@imports("ai.onnx.ml.Normalizer")
def normalizer(site: Site, x: Tensor) -> Tensor:
    """Each row divided by its norm, of order 1 or 2; a row of 0 stays 0."""
    norm = site.attribute("norm", "MAX")
    if norm not in _ORDERS:
        raise Refused(f"the norm {norm} is not known")
    return lp_norm_of(x, -1, _ORDERS[norm])
