"""The one printer of programs: the same text for the same program, on every run and machine."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import fx

from mpccompile.ir.program import Program, Secrecy, origin_of
from mpccompile.ir.secrecy import infer

_ATEN = type(torch.ops.aten.add.Tensor)
_SHORT = {
    torch.float32: "f32",
    torch.float64: "f64",
    torch.float16: "f16",
    torch.bfloat16: "bf16",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.bool: "bool",
}


def to_text(program: Program) -> str:
    """Print a program, one line per node.

    A line is ``%name: f32[1, 16, 32] secret = linear(%x, %w, %b)  # bert.encoder.layer.0 (modeling_bert.py:88)``.
    """
    levels = infer(program)
    lines = [f"program {program.name}"]
    for node in program.graph.nodes:
        if node.op == "output":
            lines.append(f"return {_value(node.args[0])}")
            continue
        lines.append(line_of(node, levels[node]))
    return "\n".join(lines) + "\n"


def line_of(node: fx.Node, level: Secrecy) -> str:
    """Print a node other than the output."""
    origin = str(origin_of(node)) if node.op == "call_function" else ""
    comment = f"  # {origin}" if origin else ""
    return f"%{node.name}: {_type(node.meta.get('val'))} {level.value} = {_right(node)}{comment}"


def _right(node: fx.Node) -> str:
    if node.op == "placeholder":
        return f"input {node.target}"
    if node.op == "get_attr":
        return f"attribute {node.target}"
    arguments = [_value(arg) for arg in node.args] + [f"{key}={_value(arg)}" for key, arg in node.kwargs.items()]
    return f"{name_of(node.target)}({', '.join(arguments)})"


def name_of(target: object) -> str:
    """Return the name of an operation as programs are printed with it."""
    if isinstance(target, _ATEN):
        return str(target)
    return str(getattr(target, "__name__", target))


def _type(value: object) -> str:
    if isinstance(value, torch.Tensor):
        dtype = _SHORT.get(value.dtype, str(value.dtype).removeprefix("torch."))
        return f"{dtype}[{', '.join(str(int(size)) for size in value.shape)}]"
    if isinstance(value, (tuple, list)):
        return f"({', '.join(_type(item) for item in value)})"
    return type(value).__name__


def _value(value: object) -> str:
    if isinstance(value, fx.Node):
        return f"%{value.name}"
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        return f"[{', '.join(_value(item) for item in value)}]"
    return str(value)
