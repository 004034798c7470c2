"""Capture an ONNX model as a Program, in the same way as any module of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor, fx

from mpccompile.capture import from_torch
from mpccompile.capture.from_onnx.names import STEPS
from mpccompile.capture.from_onnx.rewrites import number_by_mask
from mpccompile.errors import InputError
from mpccompile.ir.program import Origin, Program
from mpccompile.options import Options

if TYPE_CHECKING:
    from mpccompile.capture.from_onnx.bind import Step
    from mpccompile.capture.from_onnx.model import OnnxModel

MASK = "attention_mask"
# Whole numbers under these names say how long a text is and where its parts are, not what it says.
_PUBLIC_WORDS = ("mask", "position", "segment", "token_type")


def capture(model: OnnxModel, inputs: Mapping[str, Any] | Sequence[Any], options: Options | None = None) -> Program:
    """Capture a file for inputs of these shapes.

    Floating inputs and token ids are secret; masks, positions and segments, known by their names, are public. Weights
    are secret; see :mod:`mpccompile.capture.from_onnx.constants` for what is no weight.

    Args:
        model: The file.
        inputs: Tensors by name, or in the file's order.
        options: Whose ``secret``, ``public`` and ``embedding`` say who may know what.

    Raises:
        InputError: If an input is missing, unknown, or of another shape than the file's.
        OptionError: If ``secret`` or ``public`` name an input that there is not.
        UnsupportedOp: If a node cannot be computed without knowing the inputs.
        CaptureFailed: If a node fails on these inputs.
    """
    tensors = _by_name(model, inputs)
    options = _with_public(model, tensors, options or Options())
    secret = [model.inputs[name] for name, value in tensors.items() if _is_secret_id(name, value, options)]
    mask = model.inputs.get(MASK) if MASK not in options.secret else None
    graph = number_by_mask(model.graph, secret, mask)
    bound = model.bound(tensors, graph)
    program = from_torch.capture(bound, tensors, options)
    for node in program.graph.nodes:
        _set_origin(node, bound.steps)
    return program.with_changes(name=model.name)


def _by_name(model: OnnxModel, inputs: Mapping[str, Any] | Sequence[Any]) -> dict[str, Tensor]:
    if not isinstance(inputs, Mapping):
        inputs = dict(zip(model.inputs, inputs, strict=False))
    # The argument of one input may be called as another is in the file.
    arguments = {} if set(inputs) <= set(model.inputs) else {file: name for name, file in model.inputs.items()}
    tensors = {arguments.get(name, name): value for name, value in inputs.items() if value is not None}
    for name, value in tensors.items():
        if not isinstance(value, Tensor):
            raise InputError(f"input {name} is a {type(value).__name__}, not a tensor", where=f"input {name}")
    return tensors


def _with_public(model: OnnxModel, tensors: Mapping[str, Tensor], options: Options) -> Options:
    arguments = {file: argument for argument, file in model.inputs.items()}
    secret, public = ({arguments.get(name, name) for name in names} for names in (options.secret, options.public))
    for name, value in tensors.items():
        named = any(word in name.lower() for word in _PUBLIC_WORDS) and not value.is_floating_point()
        if named and name not in secret:
            public.add(name)
    return replace(options, secret=tuple(sorted(secret)), public=tuple(sorted(public)))


def _is_secret_id(name: str, value: Tensor, options: Options) -> bool:
    return not value.is_floating_point() and name not in options.public


def _set_origin(node: fx.Node, steps: Sequence[Step]) -> None:
    """Say which node of the file a call is from, where the capture says which step."""
    origin = node.meta["origin"]
    first, _, rest = origin.module_path.partition(".")
    if first == STEPS and rest.isdigit():
        node.meta["origin"] = steps[int(rest)].site.node.origin
    else:
        node.meta["origin"] = Origin(origin.module_path)
