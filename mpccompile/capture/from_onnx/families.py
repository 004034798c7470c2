"""All operators: importing the families has registered their rules."""

from __future__ import annotations

from mpccompile.capture.from_onnx.ops import (
    activation,
    arithmetic,
    attention,
    contrib,
    conv,
    fused,
    index,
    linear,
    logic,
    ml,
    norm,
    pooling,
    reduce,
    resize,
    shape,
)
from mpccompile.capture.from_onnx.registry import OPERATORS

FAMILIES = (
    activation,
    arithmetic,
    attention,
    contrib,
    conv,
    fused,
    index,
    linear,
    logic,
    ml,
    norm,
    pooling,
    reduce,
    resize,
    shape,
)

__all__ = ["FAMILIES", "OPERATORS"]
