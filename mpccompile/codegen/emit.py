"""Write a lowered graph as Python a person can read: one statement per operation, where it came from and what it costs."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from mpccompile.codegen.ranges import Site
from mpccompile.ir import ops
from mpccompile.ir.program import Origin, Program, Secrecy, origin_of
from mpccompile.ir.rewrite import value_of
from mpccompile.runtime.plan import Traffic

_OPS = {getattr(ops, name): name for name in dir(ops) if callable(getattr(ops, name)) and not name.startswith("_")}


@dataclass(frozen=True)
class Statement:
    """One line of the generated program.

    Attributes:
        line: Line of ``model.py``, from 1.
        op: Name of the operation.
        node: Name of the graph node, and of the variable.
        module_path: Module of the user's model it came from.
        source: ``file.py:line`` in the user's model.
        shape: Shape of the result.
    """

    line: int
    op: str
    node: str
    module_path: str
    source: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Emitted:
    """Generated source and what each of its lines is."""

    source: str
    statements: tuple[Statement, ...]
    class_name: str


def emit(program: Program, sites: Mapping[str, Site], traffic: Mapping[int, Traffic] | None = None) -> Emitted:
    """Return the source of ``model.py``.

    Args:
        program: A lowered program.
        sites: Calibrated arguments by node name.
        traffic: Cost by line, for the comments; the text has the same lines with and without.
    """
    writer = _Writer(program, sites, traffic or {})
    return writer.write()


class _Writer:
    def __init__(self, program: Program, sites: Mapping[str, Site], traffic: Mapping[int, Traffic]) -> None:
        self._program = program
        self._sites = sites
        self._traffic = traffic
        self._lines: list[str] = []
        self._statements: list[Statement] = []
        self._names: dict[fx.Node, str] = {}
        self._module_path: str | None = None

    def write(self) -> Emitted:
        class_name = _identifier(self._program.name)
        self._lines += _header(self._program, class_name)
        secret = [item.name for item in self._program.inputs if _is_shared(item.secrecy, item.dtype)]
        for name in secret:
            self._lines.append(f"        {_identifier(name)} = mpc.from_crypten({_identifier(name)})")
        for node in self._program.graph.nodes:
            self._node(node)
        return Emitted("\n".join(self._lines) + "\n", tuple(self._statements), class_name)

    def _node(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self._names[node] = _identifier(str(node.target))
        elif node.op == "get_attr":
            self._names[node] = f"w[{str(node.target)!r}]"
        elif node.op == "call_function":
            self._call(node)
        elif node.op == "output":
            self._output(node)

    def _call(self, node: fx.Node) -> None:
        origin = origin_of(node)
        if origin.module_path != self._module_path:
            self._module_path = origin.module_path
            self._lines += ["", f"        # {origin.module_path or 'the model itself'}"]
        name = self._names[node] = _identifier(node.name)
        arguments = [self._text(arg) for arg in node.args]
        arguments += [f"{key}={self._text(value)}" for key, value in node.kwargs.items()]
        site = self._sites.get(node.name)
        if site is not None:
            arguments += [f"{key}={_literal(value)}" for key, value in site.keywords.items()]
        op = _OPS.get(node.target)
        called = f"mpc.{op}" if op else _aten(node.target)
        code = f"        {name} = {called}({', '.join(arguments)})"
        line = len(self._lines) + 1
        self._lines.append(f"{code}  # {self._comment(line, node, origin)}")
        if op:
            shape = tuple(int(size) for size in value_of(node).shape)
            self._statements.append(Statement(line, op, name, origin.module_path, origin.source, shape))

    def _comment(self, line: int, node: fx.Node, origin: Origin) -> str:
        value = node.meta.get("val")
        shape = list(value.shape) if isinstance(value, Tensor) else "?"
        parts = [str(shape).replace(" ", "")]
        if origin.source:
            parts.append(origin.source)
        row = self._traffic.get(line)
        if row is not None and row.rounds:
            parts.append(f"{_bytes(max(row.bytes_sent))}, {row.rounds} round{'s' * (row.rounds != 1)}")
        return "  ".join(parts)

    def _output(self, node: fx.Node) -> None:
        results = node.args[0]
        outputs = list(results) if isinstance(results, tuple | list) else [results]
        texts = [f"mpc.to_crypten({self._text(output)})" for output in outputs]
        self._lines.append(f"        return {', '.join(texts)}")

    def _text(self, value: Any) -> str:
        if isinstance(value, fx.Node):
            return self._names[value]
        if isinstance(value, list | tuple):
            items = ", ".join(self._text(item) for item in value)
            return f"[{items}]" if isinstance(value, list) else f"({items}{',' * (len(value) == 1)})"
        return _literal(value)


def _header(program: Program, class_name: str) -> list[str]:
    names = ", ".join(_identifier(item.name) for item in program.inputs)
    lines = ['"""A model as a two-party program on secret shares, written by mpccompile.', ""]
    lines += [f"{item.name}: {_dtype(item.dtype)}{list(item.shape)}, {item.secrecy.value}" for item in program.inputs]
    lines += [
        "",
        "After each statement: shape of the result, place in the original source, bytes each party sends, rounds.",
        '"""',
        "",
        "import torch",
        "from mpccompile.runtime import functions as mpc",
        "from mpccompile.runtime.crypten_bridge import crypten",
        "",
        "inf = float('inf')",
        "",
        "",
        f"class {class_name}(crypten.nn.Module):",
        "    def __init__(self, weights):",
        "        super().__init__()",
        "        self.weights = weights  # static weights of rank 0, and public constants",
        "        self.encrypt()",
        "",
        f"    def forward(self, {names}):",
        "        w = self.weights",
    ]
    return lines


def _is_shared(secrecy: Secrecy, dtype: torch.dtype) -> bool:
    return secrecy is Secrecy.SECRET and dtype.is_floating_point


def _literal(value: Any) -> str:
    if isinstance(value, torch.dtype | torch.device | torch.memory_format | torch.layout):
        return f"torch.device({str(value)!r})" if isinstance(value, torch.device) else str(value)
    text = repr(value)
    return f"mpc.{text}" if text.startswith("SoftmaxRange(") else text


def _aten(target: Any) -> str:
    """Return the dotted name of a public operation: an ATen overload, or a Python operator."""
    if isinstance(target, torch._ops.OpOverload):
        namespace, _, name = target.name().partition("::")
        base, _, overload = name.partition(".")
        return f"torch.ops.{namespace}.{base}.{overload or 'default'}"
    return f"torch.{target.__name__}"


def _identifier(name: str) -> str:
    text = "".join(c if c.isalnum() or c == "_" else "_" for c in name)
    text = f"_{text}" if not text or text[0].isdigit() else text
    return f"{text}_" if keyword.iskeyword(text) or text in {"w", "mpc", "torch", "crypten", "inf", "self"} else text


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _bytes(count: int) -> str:
    """Return a byte count in decimal units, as networks are sold."""
    for unit, size in (("MB", 1_000_000), ("kB", 1_000)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
