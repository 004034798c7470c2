"""Write a lowered graph as readable Python: a statement per operation, where it came from and what it costs."""

from __future__ import annotations

import keyword
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from mpccompile.codegen.arrange import one_by_one
from mpccompile.ir import ops
from mpccompile.ir.program import Origin, Program, Secrecy, origin_of
from mpccompile.ir.rewrite import value_of

if TYPE_CHECKING:
    from mpccompile.codegen.arrange import Item
    from mpccompile.codegen.ranges import Site
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
    """Generated source and what each of its lines is.

    Attributes:
        source: The text of ``model.py``.
        statements: What its lines are.
        class_name: The class it holds.
        lines: Line of each call, by the name of its node in the graph.
    """

    source: str
    statements: tuple[Statement, ...]
    class_name: str
    lines: Mapping[str, int] = field(default_factory=dict)


def emit(
    program: Program,
    sites: Mapping[str, Site],
    items: Sequence[Item] | None = None,
    traffic: Mapping[int, Traffic] | None = None,
) -> Emitted:
    """Return the source of ``model.py``.

    Args:
        program: A lowered program.
        sites: Calibrated arguments by node name.
        items: The nodes in the order to write them, those that run side by side as one; by default one by one.
        traffic: Cost by line, for the comments; the text has the same lines with and without.
    """
    return _ProtocolWriter(program, sites, traffic or {}).write(items)


class Writer:
    """Writes one class whose forward has a line per call of the graph; subclasses say how a call is spelled."""

    def __init__(self, program: Program, traffic: Mapping[int, Traffic]) -> None:
        self.program = program
        self._traffic = traffic
        self._lines: list[str] = []
        self._statements: list[Statement] = []
        self._names: dict[fx.Node, str] = {}
        self._counts: dict[str, int] = {}
        self._places: dict[str, int] = {}
        self._module_path: str | None = None

    def header(self, class_name: str) -> list[str]:
        """Return the lines down to the first statement."""
        raise NotImplementedError

    def expression(self, node: fx.Node, op: str) -> str:
        """Return the right-hand side of a call of ``ir.ops``."""
        raise NotImplementedError

    def result(self, value: str) -> str:
        """Return how an output is returned."""
        raise NotImplementedError

    def write(self, items: Sequence[Item] | None = None) -> Emitted:
        """Return the source, its nodes in the order given, or in that of the graph."""
        class_name = identifier(self.program.name)
        self._lines += self.header(class_name)
        for item in items or one_by_one(self.program.graph):
            if len(item) > 1:
                self._group(item)
            else:
                self._node(item[0])
        return Emitted("\n".join(self._lines) + "\n", tuple(self._statements), class_name, self._places)

    def _group(self, nodes: Item) -> None:
        """Write calls that run side by side; only protocols can."""
        raise NotImplementedError

    def _node(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self._names[node] = identifier(str(node.target))
        elif node.op == "get_attr":
            self._names[node] = f"w[{str(node.target)!r}]"
        elif node.op == "call_function":
            self._call(node)
        elif node.op == "output":
            results = node.args[0]
            outputs = list(results) if isinstance(results, tuple | list) else [results]
            staying = dict(self.program.output.resident)
            texts = [
                self.text(output) if name in staying else self.result(self.text(output))
                for name, output in zip(self.program.output.keys, outputs, strict=True)
            ]
            self._lines.append(f"        return {', '.join(texts)}")

    def _fresh(self, op: str) -> str:
        """Return the next variable of an operation, numbered in the order of the program."""
        base = identifier(op.partition(".")[0])
        self._counts[base] = self._counts.get(base, 0) + 1
        return f"{base}_{self._counts[base]}"

    def _call(self, node: fx.Node) -> None:
        module_path = origin_of(node).module_path
        if module_path != self._module_path:
            self._module_path = module_path
            self._lines += ["", f"        # {module_path or 'the model itself'}"]
        op = _OPS.get(node.target)
        code = self.expression(node, op) if op else f"{_aten(node.target)}({', '.join(self.arguments(node))})"
        name = self._names[node] = self._fresh(op or _aten(node.target).split(".")[-2])
        self._line(node, op, f"        {name} = {code}")

    def _line(self, node: fx.Node, op: str | None, code: str) -> None:
        """Write a line and what is known of it."""
        origin, line = origin_of(node), len(self._lines) + 1
        self._lines.append(f"{code}  # {self._comment(line, node, origin)}")
        self._places[node.name] = line
        if op:
            shape = tuple(int(size) for size in value_of(node).shape)
            statement = Statement(line, op, self._names[node], origin.module_path, origin.source, shape)
            self._statements.append(statement)

    def _comment(self, line: int, node: fx.Node, origin: Origin) -> str:
        value = node.meta.get("val")
        shape = list(value.shape) if isinstance(value, Tensor) else "?"
        parts = [str(shape).replace(" ", "")]
        if origin.source:
            parts.append(origin.source)
        row = self._traffic.get(line)
        if row is not None and any(row.bytes_sent):
            rounds = [f"{row.rounds} round{'s' * (row.rounds != 1)}"] if row.rounds else []
            parts.append(", ".join([_bytes(max(row.bytes_sent)), *rounds]))
        return "  ".join(parts)

    def arguments(self, node: fx.Node) -> list[str]:
        """Return the arguments of a call as text."""
        # A public call stays where its operands are: the capture's device means nothing to a party's.
        kwargs = {key: value for key, value in node.kwargs.items() if not isinstance(value, torch.device)}
        return [self.text(arg) for arg in node.args] + [f"{key}={self.text(value)}" for key, value in kwargs.items()]

    def text(self, value: Any) -> str:
        """Return an argument as text: a variable, a literal, or a sequence of them."""
        if isinstance(value, fx.Node):
            return self._names[value]
        if isinstance(value, list | tuple):
            items = ", ".join(self.text(item) for item in value)
            return f"[{items}]" if isinstance(value, list) else f"({items}{',' * (len(value) == 1)})"
        return _literal(value)


class _ProtocolWriter(Writer):
    """Spells a call as one of the runtime's protocols."""

    def __init__(self, program: Program, sites: Mapping[str, Site], traffic: Mapping[int, Traffic]) -> None:
        super().__init__(program, traffic)
        self._sites = sites

    def header(self, class_name: str) -> list[str]:
        lines = [
            *opening(self.program, "on secret shares, written by mpccompile"),
            "After each statement: shape of the result, place in the original source, bytes each party sends, rounds.",
            "Statements inside mpc.together share their messages; a shared round is the first one's that waits in it.",
            '"""',
            "",
            "import torch",
            "from mpccompile.runtime import functions as mpc",
            "from mpccompile.runtime.crypten_bridge import crypten",
            "",
            "inf = float('inf')",
            *class_head(self.program, class_name),
        ]
        secret = [item.name for item in self.program.inputs if _is_shared(item.secrecy, item.dtype)]
        return lines + [f"        {identifier(name)} = mpc.from_crypten({identifier(name)})" for name in secret]

    def expression(self, node: fx.Node, op: str) -> str:
        return self._spelled(node, f"mpc.{op}")

    def _group(self, nodes: Item) -> None:
        named = [(node, _OPS[node.target]) for node in nodes]
        calls = [(node, op, self._spelled(node, f"mpc.{op}.steps")) for node, op in named]
        self._names.update({node: self._fresh(op) for node, op in named})
        self._lines += ["", f"        {', '.join(self._names[node] for node in nodes)} = mpc.together("]
        self._module_path = None
        for node, op, code in calls:
            module_path = origin_of(node).module_path
            if module_path != self._module_path:
                self._module_path = module_path
                self._lines.append(f"            # {module_path or 'the model itself'}")
            self._line(node, op, f"            {code},")
        self._lines.append("        )")
        self._module_path = None

    def _spelled(self, node: fx.Node, function: str) -> str:
        site = self._sites.get(node.name)
        calibrated = [f"{key}={_literal(value)}" for key, value in site.keywords.items()] if site else []
        return f"{function}({', '.join(self.arguments(node) + calibrated)})"

    def result(self, value: str) -> str:
        return f"mpc.to_crypten({value})"


def opening(program: Program, what: str) -> list[str]:
    """Return the start of the docstring of ``model.py``."""
    lines = [f'"""A model as a two-party program {what}.', ""]
    lines += [f"{item.name}: {_dtype(item.dtype)}{list(item.shape)}, {item.secrecy.value}" for item in program.inputs]
    return [*lines, ""]


def class_head(program: Program, class_name: str, attributes: Sequence[str] = ()) -> list[str]:
    """Return the lines from the class statement to the first of forward."""
    return [
        "",
        "",
        f"class {class_name}(crypten.nn.Module):",
        "    SUPPORTS_PLAINTEXT_INPUTS = True  # masks and the like are public",
        *attributes,
        "    def __init__(self, weights):",
        "        super().__init__()",
        "        self.weights = weights  # secret weights of rank 0, and public constants",
        "        self.encrypt()",
        "",
        f"    def forward(self, {', '.join(identifier(item.name) for item in program.inputs)}):",
        "        w = self.weights",
    ]


def _is_shared(secrecy: Secrecy, dtype: torch.dtype) -> bool:
    return secrecy is Secrecy.SECRET and dtype.is_floating_point


def _literal(value: Any) -> str:
    if isinstance(value, torch.dtype | torch.memory_format | torch.layout):
        return str(value)
    text = repr(value)
    return f"mpc.{text}" if text.startswith("SoftmaxRange(") else text


def _aten(target: Any) -> str:
    """Return the dotted name of a public operation: an ATen overload, or a Python operator."""
    if hasattr(target, "overloadpacket"):
        namespace, _, name = target.name().partition("::")
        base, _, overload = name.partition(".")
        return f"torch.ops.{namespace}.{base}.{overload or 'default'}"
    return f"torch.{target.__name__}"


def identifier(name: str) -> str:
    """Return a name of the graph as one that Python allows and the generated code does not use itself."""
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
