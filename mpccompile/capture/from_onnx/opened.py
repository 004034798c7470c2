"""A model that is given as the path of an ONNX file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from mpccompile.capture.from_onnx.examples import made_up
from mpccompile.capture.from_onnx.model import OnnxModel
from mpccompile.errors import OptionError

if TYPE_CHECKING:
    from mpccompile.capture.from_onnx.shapes import Shapes


def opened(model: nn.Module | str | Path, examples: Any, shapes: Shapes | None) -> tuple[nn.Module, Any]:
    """Return the module of a file and example inputs: the given ones, or made-up ones where only shapes are given.

    Raises:
        OptionError: If shapes are given for a module, whose inputs say their shapes.
        InputError: If the file cannot be read, or a dim of an input is left open.
        UnsupportedOp: If the file holds operators that have no rule.
        CaptureFailed: If it was written for operators older or newer than are known.
    """
    if isinstance(model, nn.Module):
        raise OptionError("input_shapes is for ONNX files", hint="Give example_inputs to compile a module.")
    module = OnnxModel.read(model)
    if examples is None and shapes is not None:
        examples = made_up(module, shapes)
        warnings.warn(
            "ranges come from made-up inputs, and real ones may leave them; give example_inputs",
            UserWarning,
            stacklevel=3,
        )
    return module, examples
