"""Read an ONNX file, and refuse what is none, is damaged, or holds what cannot be imported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import checker, inliner
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from mpccompile.capture.from_onnx.graph import DEFAULT_DOMAINS, Graph, graph_of, reads
from mpccompile.capture.from_onnx.tensors import first_line
from mpccompile.errors import CaptureFailed, InputError

OLDEST_OPSET = 13
_CONTRIB = "com.microsoft"
# onnxruntime's optimiser writes these under ONNX's own name, where no version of ONNX has them.
# Operators under ONNX's name that ONNX has later or never, as onnxruntime's optimiser writes; outputs of no shape.
_FORGIVEN = ("No Op registered", "Field 'shape' of 'type' is required")
_MISPLACED = frozenset({"SimplifiedLayerNormalization"})


@dataclass(frozen=True)
class Source:
    """A file that was read.

    Attributes:
        graph: What it computes.
        opset: The version of ONNX's operators that it was written for.
        path: Where it is; external data lies beside it.
    """

    graph: Graph
    opset: int
    path: Path


def read(path: Path) -> Source:
    """Read and check a file; the data of its tensors is left where it is.

    Raises:
        InputError: If there is no such file, it is no ONNX file or damaged, or a file of external data is missing.
        CaptureFailed: If it was written for operators older or newer than are known.
    """
    model = _parsed(path)
    opset = _opset(model, path)
    _check_external(model, path)
    for node in model.graph.node:
        if node.domain in DEFAULT_DOMAINS and node.op_type in _MISPLACED:
            node.domain = _CONTRIB
    if model.functions:
        model = inliner.inline_local_functions(model)
    return Source(graph_of(model.graph, str(path.parent)), opset, path)


def _parsed(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(path, load_external_data=False)
    except FileNotFoundError as error:
        raise InputError("there is no such file", where=str(path)) from error
    except OSError as error:
        raise InputError(f"the file cannot be read ({error.strerror})", where=str(path)) from error
    except (DecodeError, ValueError) as error:
        raise _no_model(path) from error
    if not model.graph.node or not model.graph.output or not model.opset_import:
        raise _no_model(path)
    # What is no UTF-8 comes as bytes, in a damaged file.
    if not all(isinstance(name, str) for name in _names(model)):
        raise _no_model(path)
    return model


def _names(model: onnx.ModelProto) -> Iterator[object]:
    yield from (each.domain for each in model.opset_import)
    for graph in (model.graph, *model.functions):
        for node in graph.node:
            yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
            yield from (attribute.name for attribute in node.attribute)
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer):
        yield value.name


def _no_model(path: Path) -> InputError:
    return InputError(
        "this is not an ONNX file, or not all of it", where=str(path), hint="Export or copy the model again."
    )


def _opset(model: onnx.ModelProto, path: Path) -> int:
    versions = [int(each.version) for each in model.opset_import if each.domain in DEFAULT_DOMAINS]
    newest = onnx.defs.onnx_opset_version()
    if not versions:
        raise CaptureFailed("the file does not say for which version of ONNX it was written", where=str(path))
    if versions[0] < OLDEST_OPSET:
        raise CaptureFailed(
            f"the file uses opset {versions[0]}, and {OLDEST_OPSET} is the oldest that is known",
            where=str(path),
            hint="Export it again, or convert it with onnx.version_converter.",
        )
    if versions[0] > newest:
        raise CaptureFailed(
            f"the file uses opset {versions[0]}, and the installed onnx knows {newest}",
            where=str(path),
            hint="Install a newer onnx.",
        )
    return versions[0]


def _check_external(model: onnx.ModelProto, path: Path) -> None:
    """Say at once which files are missing, before any of them is read."""
    missing = set()
    for tensor in model.graph.initializer:
        if uses_external_data(tensor):
            location = ExternalDataInfo(tensor).location
            if not (path.parent / location).is_file():
                missing.add(location)
    if missing:
        raise InputError(
            f"the file's external data is missing: {', '.join(sorted(missing))}",
            where=str(path),
            hint="It has to lie in the same folder as the model.",
        )


def _check_values(source: Source) -> None:
    graph = source.graph
    made = {value.name for value in graph.inputs} | set(graph.stored)
    for node in graph.nodes:
        absent = sorted(reads(node) - made)
        if absent:
            raise InputError(
                f"the file is no valid ONNX model: {node.name} reads {absent[0]}, which no node before it makes",
                where=str(source.path),
            )
        made.update(node.outputs)


def check(source: Source) -> None:
    """Let onnx check the whole file.

    Raises:
        InputError: If it breaks a rule of ONNX.
    """
    _check_values(source)
    try:
        checker.check_model(str(source.path))
    except checker.ValidationError as error:
        if not any(text in str(error) for text in _FORGIVEN):
            raise InputError(f"the file is no valid ONNX model: {first_line(error)}", where=str(source.path)) from error
    except UnicodeDecodeError as error:
        raise _no_model(source.path) from error
