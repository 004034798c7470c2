"""Where in the user's model a node, or an error, comes from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from mpccompile.ir.program import Origin

if TYPE_CHECKING:
    from types import TracebackType

_TORCH = str(Path(torch.__file__).parent)
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')
# The two ways export names the captured module: non-strict and strict mode.
_ROOT = re.compile(r"^(L__self__|L\['self'\])\.?")


def origin_from_meta(meta: dict[str, Any]) -> Origin:
    """Read the module path and source line that export left in a node's ``meta``."""
    stack = meta.get("nn_module_stack") or {}
    path = ""
    for entry in stack.values():
        path = _ROOT.sub("", entry[0])
    frames = [(match["file"], match["line"]) for match in _FRAME.finditer(meta.get("stack_trace") or "")]
    outside = [(file, line) for file, line in frames if not file.startswith(_TORCH)]
    source = f"{Path(outside[-1][0]).name}:{outside[-1][1]}" if outside else ""
    return Origin(path, source)


def annotate(graph: fx.Graph) -> None:
    """Give every node of an exported graph its ``meta["origin"]``."""
    for node in graph.nodes:
        if node.op == "get_attr":
            node.meta["origin"] = Origin(str(node.target).rpartition(".")[0])
        else:
            node.meta["origin"] = origin_from_meta(node.meta)


def place_of_error(error: BaseException, model: nn.Module) -> str:
    """Say where an exception was raised: the innermost module of ``model`` and the last line outside torch."""
    paths = {id(module): name for name, module in model.named_modules()}
    trace: TracebackType | None = error.__traceback__
    origin = Origin()
    while trace is not None:
        code, owner = trace.tb_frame.f_code, trace.tb_frame.f_locals.get("self")
        inside = not code.co_filename.startswith(_TORCH) and "mpccompile/capture" not in code.co_filename
        path = paths.get(id(owner), origin.module_path)
        source = f"{Path(code.co_filename).name}:{trace.tb_lineno}" if inside else origin.source
        origin = Origin(path, source)
        trace = trace.tb_next
    return str(origin)
