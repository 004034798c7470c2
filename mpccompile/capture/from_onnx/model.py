"""An ONNX file as a module of torch, and the same module for inputs of one shape."""

from __future__ import annotations

import inspect
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mpccompile.capture.from_onnx import load
from mpccompile.capture.from_onnx.bind import Binding, Held, Kind, Step, bind
from mpccompile.capture.from_onnx.graph import Graph, needed
from mpccompile.capture.from_onnx.names import STEPS, identifier, parameter_path
from mpccompile.capture.from_onnx.rewrites import join_safe_softmax, join_softmax
from mpccompile.capture.from_onnx.shapes import check_inputs
from mpccompile.capture.from_onnx.tensors import dtype_of
from mpccompile.capture.from_onnx.unsupported import check_supported

if TYPE_CHECKING:
    from mpccompile.capture.from_onnx.registry import Answer

# What exporters add to the answer: the keys and values of a cache, and what is between the layers.
_BY_PRODUCT = re.compile(r"(present|past_key|hidden_states|attentions|cross_attentions|encoder_last_hidden).*")
_ANSWER = "logits"


class OnnxModel(nn.Module):
    """A file that was read: it takes the graph's inputs by name, and returns a dict of its outputs by name.

    Attributes:
        graph: What it computes, without what no output needs.
        inputs: The name in the file of each input, by the name it has as an argument.
        types: The dtype of each input, by argument.
        name: Of the class that is generated from it.
    """

    def __init__(self, source: load.Source) -> None:
        super().__init__()
        outputs = _wanted(source.graph.outputs)
        graph = replace(source.graph, outputs=outputs, nodes=needed(source.graph.nodes, outputs))
        check_supported(graph.nodes)
        self.graph = join_safe_softmax(join_softmax(graph))
        self.graph = replace(self.graph, nodes=needed(self.graph.nodes, outputs))
        self.opset = source.opset
        self.inputs = _arguments(graph)
        self.types = {argument: _type_of(graph, file) for argument, file in self.inputs.items()}
        self.name = class_name(source.path)
        self.held = {name: _held(self.graph, name, tensor) for name, tensor in self.graph.tensors().items()}
        self.paths = _paths(self.graph, self.held)
        # Else a file without external data would stay in memory twice.
        self.graph = self.graph.without_data()
        self._bound: dict[object, BoundModel] = {}
        _name_arguments(self, list(self.inputs))

    @classmethod
    def read(cls, path: str | Path) -> OnnxModel:
        """Read a file.

        Raises:
            InputError: If there is no such file, it is no ONNX file, or damaged.
            CaptureFailed: If it was written for operators older or newer than are known.
            UnsupportedOp: If it holds operators that have no rule; all are listed.
        """
        source = load.read(Path(path))
        model = cls(source)
        # After what is missing was listed: to onnx an operator it does not know is a file that is not valid.
        # This takes as much memory again.
        source = replace(source, graph=source.graph.without_data())
        load.check(source)
        return model

    def bound(self, inputs: Mapping[str, Tensor], graph: Graph | None = None) -> BoundModel:
        """Return the module for inputs of these shapes.

        Raises:
            InputError: If an input is missing or unknown, or its shape is not the file's.
        """
        check_inputs(self.graph.inputs, self.inputs, inputs)
        graph = graph or self.graph
        named = {self.inputs[name]: value for name, value in inputs.items()}
        return BoundModel(self, graph, bind(graph, self.held, named, self.opset))

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Return the outputs by name."""
        key = tuple((name, tuple(value.shape), value.dtype) for name, value in sorted(inputs.items()))
        if key not in self._bound:
            self._bound[key] = self.bound(inputs)
        answer: dict[str, Tensor] = self._bound[key](**inputs)
        return answer


class BoundModel(nn.Module):
    """The steps of a graph for inputs of one shape: each a module, so that a capture says which one a call is from.

    Weights are parameters, at the paths their names say; constants are buffers that are not stored with a model.
    """

    def __init__(self, model: OnnxModel, graph: Graph, binding: Binding) -> None:
        super().__init__()
        self.steps = tuple(binding.steps)
        self.arguments = dict(model.inputs)
        self.outputs = {name: binding.names.get(name, name) for name in graph.outputs}
        self.add_module(STEPS, nn.ModuleList(_StepModule(step) for step in self.steps))
        read = {name for step in self.steps for name in step.inputs if name} | set(self.outputs.values())
        self.places: dict[str, str] = {}
        paths = dict(model.paths)
        for name in sorted(read & set(binding.values)):
            held = binding.values[name]
            if held.kind is Kind.KNOWN:
                self.places[name] = f"constant{len(self.places)}"
                self.register_buffer(self.places[name], held.data, persistent=False)
            elif held.kind is Kind.WEIGHT:
                if name not in paths:
                    paths[name] = parameter_path(name, held.owner, paths.values())
                self.places[name] = paths[name]
                _store(self, paths[name], held.data)
        _name_arguments(self, list(self.arguments))

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Return the outputs by name."""
        values: dict[str, Tensor | None] = {self.arguments[name]: value for name, value in inputs.items()}
        values |= {name: operator.attrgetter(place)(self) for name, place in self.places.items()}
        for step, module in zip(self.steps, self.get_submodule(STEPS).children(), strict=True):
            answer: Answer = module(*[values[name] if name else None for name in step.inputs])
            results = [answer] if isinstance(answer, Tensor) else answer
            values.update(zip(step.outputs, results, strict=False))
        return {name: value for name, of in self.outputs.items() if (value := values[of]) is not None}


class _StepModule(nn.Module):
    def __init__(self, step: Step) -> None:
        super().__init__()
        self.step = step

    def forward(self, *operands: Tensor | None) -> Answer:
        return self.step.operator.rule(self.step.site, *operands)


def class_name(path: Path) -> str:
    """Return the name of a class for a file: ``tiny-bert.onnx`` becomes ``TinyBert``."""
    words = re.findall(r"[A-Za-z0-9]+", path.stem)
    name = "".join(word[0].upper() + word[1:] for word in words) or "Model"
    return f"Model{name}" if name[0].isdigit() else name


def _wanted(outputs: Sequence[str]) -> tuple[str, ...]:
    kept = tuple(name for name in outputs if not _BY_PRODUCT.match(name))
    return kept if _ANSWER in kept else tuple(outputs)


def _arguments(graph: Graph) -> dict[str, str]:
    names: dict[str, str] = {}
    for value in graph.inputs:
        name = identifier(value.name)
        # torch.export writes the names of inputs in small letters.
        while name.lower() in {taken.lower() for taken in names}:
            name += "_"
        names[name] = value.name
    return names


def _type_of(graph: Graph, name: str) -> torch.dtype:
    (kind,) = [value.element_type for value in graph.inputs if value.name == name]
    return dtype_of(kind, f"input {name}")


def _held(graph: Graph, name: str, tensor: Tensor) -> Held:
    public = graph.is_public(name, tensor)
    return Held(Kind.KNOWN if public else Kind.WEIGHT, tensor)


def _paths(graph: Graph, held: Mapping[str, Held]) -> dict[str, str]:
    """Return where each weight is kept in the module, the same for every shape."""
    owners = {name: node.origin.module_path for node in reversed(graph.nodes) for name in node.inputs}
    paths: dict[str, str] = {}
    for name, value in held.items():
        if value.kind is Kind.WEIGHT:
            paths[name] = parameter_path(name, owners.get(name, ""), paths.values())
    return paths


def _store(module: nn.Module, path: str, data: Tensor) -> None:
    *owners, last = path.split(".")
    for owner in owners:
        if owner not in module._modules:  # noqa: SLF001 - hasattr would find methods too
            module.add_module(owner, nn.Module())
        module = module.get_submodule(owner)
    module.register_parameter(last, nn.Parameter(data, requires_grad=data.is_floating_point()))


def _name_arguments(module: nn.Module, names: Sequence[str]) -> None:
    """Let ``inspect`` see the inputs as the arguments of ``forward``."""
    forward = module.forward

    def named(**inputs: Tensor) -> dict[str, Tensor]:
        answer: dict[str, Tensor] = forward(**inputs)
        return answer

    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    named.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    module.__dict__["forward"] = named
