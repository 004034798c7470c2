"""What a run of a package brings back: outputs in the model's own type, or an error with its place in the model."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from mpccompile.codegen.package import Package
    from mpccompile.errors import MpcCompileError
    from mpccompile.ir.program import OutputSpec

logger = logging.getLogger(__name__)


def rebuild(output: OutputSpec, tensors: Sequence[Tensor]) -> Any:
    """Return flat outputs in the model's own output type."""
    if output.kind == "tensor":
        return tensors[0]
    if output.kind == "tuple":
        return tuple(tensors)
    values = dict(zip(output.keys, tensors, strict=True))
    if output.kind == "model_output":
        module, _, name = output.class_path.partition(":")
        try:
            return getattr(importlib.import_module(module), name)(**values)
        except (ImportError, AttributeError):
            logger.info("%s is not installed here, so the outputs come as a dict", output.class_path)
    return values


def located(package: Package, error: MpcCompileError) -> MpcCompileError:
    """Say where in the user's model a line of the generated program came from."""
    lines = {f"model.py:{row.line}": f"{row.op} in {row.module_path} ({row.source})" for row in package.statements}
    places = [lines.get(place, place) for place in error.where.split(", ")] if error.where else []
    return type(error)(error.what, where="; ".join(places), hint=error.hint)
