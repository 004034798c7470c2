"""A package's program run in float32: the compiled model with its named approximations, and no fixed point."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from mpccompile.ir import ops
from mpccompile.runtime.program import ProgramDescription, load_class

if TYPE_CHECKING:
    from mpccompile.codegen.package import Package


class FloatProgram:
    """A package's generated program whose protocols are replaced by the operations they compute.

    Without named approximations it is the captured model to 1e-5; with some, it is the model after them.

    Args:
        package: The package; its weights are read, so it has to be the owner's copy.
    """

    def __init__(self, package: Package) -> None:
        folder = package.folder
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        description = ProgramDescription.from_json(manifest["program"])
        weights = load_file(folder / "weights.safetensors") | load_file(folder / "constants.safetensors")
        kind = load_class(folder / "model.py", description.class_name)
        # Every load makes a module of its own, so other users of the package keep the protocols.
        sys.modules[kind.__module__].mpc = _Meanings()  # type: ignore[attr-defined]
        self._names = [item.name for item in description.inputs]
        self._keys = package.output.keys
        self._model = kind(weights)

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run one call and return the flat outputs by name, float32.

        Args:
            inputs: The program's inputs by name, in its shapes.
        """
        with torch.no_grad():
            result = self._model.forward(*(inputs[name] for name in self._names))
        flat = result if isinstance(result, tuple) else (result,)
        return dict(zip(self._keys, flat, strict=True))


class InFloat32(nn.Module):
    """A :class:`FloatProgram` as a module, which stands in for a model that is not at hand."""

    def __init__(self, package: Package) -> None:
        super().__init__()
        self._program = FloatProgram(package)

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Return the outputs by name."""
        return self._program(inputs)


class _Meanings:
    """Stands in for the protocols that generated code calls: ``ir.ops`` without the calibrated arguments."""

    def __init__(self) -> None:
        self._functions: dict[str, Callable[..., Any]] = {}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name in ("from_crypten", "to_crypten"):
            return lambda x: x
        if name == "together":
            return lambda *results: results
        if name == "SoftmaxRange":
            return lambda *_args, **_kwargs: None
        if name not in self._functions:
            self._functions[name] = _meaning(getattr(ops, name))
        return self._functions[name]


def _meaning(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    known = frozenset(inspect.signature(function).parameters)

    def call(*args: Any, **kwargs: Any) -> Tensor:
        return function(*args, **{name: value for name, value in kwargs.items() if name in known})

    # Statements that run side by side are written as steps of one call.
    setattr(call, "steps", call)  # noqa: B010 - mypy knows no attributes of a function
    return call
