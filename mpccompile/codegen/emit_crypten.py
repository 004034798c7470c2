"""Write a lowered graph as stock CrypTen: the program somebody would write who has CrypTen alone.

It is the baseline of every comparison, so it takes the graph before any pass that saves communication, and CrypTen's
functions at their default settings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from torch import fx

from mpccompile.codegen.emit import Emitted, Writer, class_head, opening
from mpccompile.errors import OptionError, UnsupportedOp
from mpccompile.ir import ops
from mpccompile.ir.program import Program, Secrecy, origin_of
from mpccompile.ir.rewrite import arguments, is_call, shape_of
from mpccompile.ir.secrecy import infer

if TYPE_CHECKING:
    from mpccompile.options import Options

LIMITS = """\
Stock CrypTen checks no range. Version 0.4.1 at its defaults gives answers that are wrong, without a word, outside of:
  exp: above -512; inside, its relative error is x^2/512.
  softmax: scores of a row within 512 of each other, exponentials that add up to less than 250 (5% off from 50).
  inv_sqrt, in the norms: variances from 0.07 to 150; an eps below 2^-16 counts as 0.
  2Quad, 2ReLU: rows whose weights have a mean of less than 250, of 2ReLU more than 0.001.
  sigmoid: within 510. tanh: within 255. GELU by tanh: within 18.
  erf: within 1.2, which is GELU by erf within 1.7.
Triples come from CrypTen's provider, and masks from torch's Mersenne twister, which is no cryptographic generator."""

_HELPERS = {
    "softmax": """\
def stock_softmax(x, keep=None):
    if keep is None:
        return x.softmax(-1)
    keep = keep.float() if torch.is_tensor(keep) else keep
    return ((x + 100) * keep - 100).softmax(-1) * keep  # -100 has no weight beside any score above -90""",
    "softmax_2quad": """\
def stock_softmax_2quad(x, keep=None):
    shifted = x + 5
    if keep is not None:
        shifted = shifted * (keep.float() if torch.is_tensor(keep) else keep)
    return stock_divided(shifted.square())""",
    "softmax_2relu": """\
def stock_softmax_2relu(x, keep=None):
    weights = x.relu()
    if keep is not None:
        weights = weights * (keep.float() if torch.is_tensor(keep) else keep)
    return stock_divided(weights)""",
    "divided": """\
def stock_divided(weights):
    mean = weights.mean(-1, keepdim=True)  # the reciprocal of a mean converges where that of a sum would not
    with crypten.cfg.temp_override({"functions.reciprocal_all_pos": True}):
        return weights / weights.size(-1) * mean.reciprocal()""",
    "layer_norm": """\
def stock_layer_norm(x, weight=None, bias=None, eps=1e-5):
    centred = x - x.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)  # x.var() would find the mean again
    y = centred * (variance + eps).inv_sqrt()
    y = y if weight is None else y * weight
    return y if bias is None else y + bias""",
    "rms_norm": """\
def stock_rms_norm(x, weight=None, eps=1e-6):
    y = x * (x.square().mean(-1, keepdim=True) + eps).inv_sqrt()
    return y if weight is None else y * weight""",
    "tanh_gelu": """\
def stock_gelu(x):
    inner = (x + 0.044715 * x.square() * x) * 0.7978845608
    return 0.5 * x * (1 + inner.tanh())""",
    "erf_gelu": """\
def stock_gelu(x):
    return 0.5 * x * (1 + (x * 0.7071067812).erf())""",
    "quadratic": """\
def stock_quadratic(x, a, b, c):
    return a * x.square() + b * x + c""",
    "silu": """\
def stock_silu(x):
    return x * x.sigmoid()""",
    "where": """\
def stock_where(keep, x, y):
    keep = keep.float()
    return x * keep + y * (1 - keep)""",
}
"""Source of the compositions that a program may need; only those it calls are written into it."""

_VIEWS = (ops.reshape, ops.permute, ops.expand, ops.take)
_FORMS = {
    "tanh": {"gelu": "tanh_gelu"},
    "erf": {"gelu": "erf_gelu"},
}

Spelling = Callable[["_StockWriter", dict[str, Any]], str]


def emit_crypten(program: Program, options: Options) -> Emitted:
    """Return the source of a ``model.py`` that calls nothing but CrypTen.

    Args:
        program: A lowered program.
        options: ``stock_forms`` says how GELU is written.

    Raises:
        OptionError: If an option has no meaning for stock CrypTen.
        UnsupportedOp: If the graph uses something that CrypTen has no method for.
    """
    if options.device != "cpu":
        raise OptionError(f"target='crypten' runs on cpu, not on {options.device}", where="option device")
    return _StockWriter(program, options.stock_forms).write()


class _StockWriter(Writer):
    def __init__(self, program: Program, forms: str) -> None:
        super().__init__(program, {})
        self._levels = infer(program)
        self._one_hot = one_hot_nodes(program)
        self._forms = _FORMS[forms]

    def is_secret(self, value: object) -> bool:
        """Say whether an argument is a CrypTensor when the program runs."""
        return isinstance(value, fx.Node) and self._levels[value] is Secrecy.SECRET

    def header(self, class_name: str) -> list[str]:
        rows = {str(node.target): length for node, length in self._one_hot.items() if node.op == "placeholder"}
        lines = [
            *opening(self.program, "in stock CrypTen, written by mpccompile"),
            *LIMITS.splitlines(),
            "",
            "Weights and secret inputs come as CrypTensors, inputs in ONE_HOT as one-hot rows of that length.",
            "After each statement: shape of the result, place in the original source.",
            '"""',
            "",
            "import crypten",
            "import torch",
            "",
            "inf = float('inf')",
        ]
        for name in self._helpers():
            lines += ["", "", *_HELPERS[name].splitlines()]
        return lines + class_head(self.program, class_name, [f"    ONE_HOT = {rows!r}", ""])

    def _helpers(self) -> list[str]:
        called = {_helper(node) for node in self.program.graph.nodes if node.target in _COMPOSED}
        shared = {"divided"} if called & {"softmax_2quad", "softmax_2relu"} else set()
        return [self._forms.get(name, name) for name in sorted(called | shared)]

    def expression(self, node: fx.Node, op: str) -> str:
        if not self.is_secret(node) or op not in _SPELLINGS:
            place = origin_of(node)
            raise UnsupportedOp(f"{op} has no counterpart in stock CrypTen", where=str(place))
        given = arguments(node)
        if node in self._one_hot:
            given |= self._with_rows(given, self._one_hot[node])
        return _SPELLINGS[op](self, given)

    def _with_rows(self, given: dict[str, Any], rows: int) -> dict[str, Any]:
        """Carry the dim of the one-hot rows along, last, through a view."""
        if "dims" in given:
            return {"dims": (*given["dims"], len(given["dims"]))}
        return {"shape": (*given["shape"], rows)} if "shape" in given else {}

    def result(self, value: str) -> str:
        return value


def _helper(node: fx.Node) -> str:
    """Return the key of the composition that a call needs: its name, with the form of a softmax."""
    form = arguments(node)["form"] if is_call(node, ops.softmax) else "exp"
    return str(node.target.__name__) if form == "exp" else f"softmax_{form}"  # type: ignore[union-attr]


def one_hot_nodes(program: Program) -> dict[fx.Node, int]:
    """Return the secret integers that are looked up, inputs and views of them, each with the rows of its table.

    Raises:
        UnsupportedOp: If such an input is looked up in tables of different lengths, or also used as a number.
    """
    found: dict[fx.Node, int] = {}
    for node in program.graph.find_nodes(op="placeholder"):
        spec = next(spec for spec in program.inputs if spec.name == node.target)
        if spec.secrecy is not Secrecy.SECRET or spec.dtype.is_floating_point:
            continue
        uses = dict(_uses(node))
        rows = set(uses.values()) or {None}
        if len(rows) > 1:
            raise UnsupportedOp(
                f"stock CrypTen takes {spec.name} as one-hot rows, and the model does more than look it up in a table",
                where=f"input {spec.name}",
            )
        length = rows.pop()
        if length is not None:
            found |= dict.fromkeys([node, *(use for use in uses if use.target in _VIEWS)], length)
    return found


def _uses(node: fx.Node) -> Iterator[tuple[fx.Node, int | None]]:
    """Yield what is made of a value, through views, with the rows of the table where it is a lookup."""
    for user in node.users:
        if user.target in _VIEWS:
            uses = dict(_uses(user))
            yield from uses.items()
            yield user, next(iter(uses.values()), None)
        else:
            yield user, shape_of(arguments(user)["weight"])[0] if is_call(user, ops.embedding) else None


def _method(name: str, *fields: str) -> Spelling:
    """Spell ``op(x, a, b)`` as ``x.name(a, b)``."""
    return lambda writer, given: f"{writer.text(given['x'])}.{name}({', '.join(writer.text(given[f]) for f in fields)})"


def _function(name: str, *fields: str) -> Spelling:
    """Spell an op as a call of a helper, arguments that are None left out at the end."""

    def spell(writer: _StockWriter, given: dict[str, Any]) -> str:
        values = [given[field] for field in fields]
        while values and values[-1] is None:
            values.pop()
        return f"{name}({', '.join(writer.text(value) for value in values)})"

    return spell


def _add(writer: _StockWriter, given: dict[str, Any]) -> str:
    # torch refuses a CrypTensor on its right, so the CrypTensor goes first.
    x, y = _secret_first(writer, given)
    return f"{writer.text(x)} + {writer.text(y)}"


def _sub(writer: _StockWriter, given: dict[str, Any]) -> str:
    if writer.is_secret(given["x"]):
        return f"{writer.text(given['x'])} - {writer.text(given['y'])}"
    return f"-{writer.text(given['y'])} + {writer.text(given['x'])}"


def _mul(writer: _StockWriter, given: dict[str, Any]) -> str:
    x, y = _secret_first(writer, given)
    return f"{writer.text(x)} * {writer.text(y)}"


def _secret_first(writer: _StockWriter, given: dict[str, Any]) -> tuple[Any, Any]:
    x, y = given["x"], given["y"]
    return (x, y) if writer.is_secret(x) else (y, x)


def _linear(writer: _StockWriter, given: dict[str, Any]) -> str:
    bias = "" if given["bias"] is None else f" + {writer.text(given['bias'])}"
    return f"{writer.text(given['x'])}.matmul({writer.text(given['weight'])}.t()){bias}"


def _matmul(writer: _StockWriter, given: dict[str, Any]) -> str:
    x, y = writer.text(given["x"]), writer.text(given["y"])
    if writer.is_secret(given["x"]):
        return f"{x}.matmul({y})"
    return f"{y}.transpose(-2, -1).matmul({x}.transpose(-2, -1)).transpose(-2, -1)"


def _conv2d(writer: _StockWriter, given: dict[str, Any]) -> str:
    fields = ("stride", "padding", "dilation", "groups")
    keywords = [f"{field}={writer.text(_tuple(given[field]))}" for field in fields]
    bias = "" if given["bias"] is None else f" + {writer.text(given['bias'])}.reshape(1, -1, 1, 1)"
    return f"{writer.text(given['x'])}.conv2d({writer.text(given['weight'])}, {', '.join(keywords)}){bias}"


def _pool(name: str) -> Spelling:
    def spell(writer: _StockWriter, given: dict[str, Any]) -> str:
        kernel, stride, padding = (writer.text(_tuple(given[field])) for field in ("kernel", "stride", "padding"))
        return f"{writer.text(given['x'])}.{name}({kernel}, stride={stride}, padding={padding})"

    return spell


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _embedding(writer: _StockWriter, given: dict[str, Any]) -> str:
    ids, weight = writer.text(given["ids"]), writer.text(given["weight"])
    return f"{ids}.matmul({weight})" if writer.is_secret(given["ids"]) else f"{weight}[{ids}]"


def _softmax(writer: _StockWriter, given: dict[str, Any]) -> str:
    name = "stock_softmax" if given["form"] == "exp" else f"stock_softmax_{given['form']}"
    return _function(name, "x", "mask")(writer, given)


def _where(writer: _StockWriter, given: dict[str, Any]) -> str:
    mask, x, y = (writer.text(given[field]) for field in ("mask", "x", "y"))
    return f"stock_where({mask}, {x}, {y})" if writer.is_secret(given["x"]) else f"stock_where(~{mask}, {y}, {x})"


def _reduction(name: str) -> Spelling:
    return lambda writer, given: (
        f"{writer.text(given['x'])}.{name}({writer.text(_tuple(given['dims']))}, keepdim={given['keepdim']})"
    )


def _take(writer: _StockWriter, given: dict[str, Any]) -> str:
    dims = len(shape_of(given["x"]))
    step = "" if given["step"] == 1 else f":{given['step']}"
    index = ":, " * (given["dim"] % dims) + f"{given['start']}:{given['stop']}{step}"
    return f"{writer.text(given['x'])}[{index}]"


def _concat(writer: _StockWriter, given: dict[str, Any]) -> str:
    parts = [writer.text(x) if writer.is_secret(x) else f"crypten.cryptensor({writer.text(x)})" for x in given["xs"]]
    return f"crypten.cat([{', '.join(parts)}], dim={given['dim']})"


_SPELLINGS: dict[str, Spelling] = {
    "add": _add,
    "sub": _sub,
    "neg": lambda writer, given: f"-{writer.text(given['x'])}",
    "mul": _mul,
    "square": _method("square"),
    "linear": _linear,
    "matmul": _matmul,
    "conv2d": _conv2d,
    "embedding": _embedding,
    "layer_norm": _function("stock_layer_norm", "x", "weight", "bias", "eps"),
    "rms_norm": _function("stock_rms_norm", "x", "weight", "eps"),
    "gelu": _function("stock_gelu", "x"),
    "silu": _function("stock_silu", "x"),
    "tanh": _method("tanh"),
    "sigmoid": _method("sigmoid"),
    "relu": _method("relu"),
    "exp": _method("exp"),
    "reciprocal": _method("reciprocal"),
    "rsqrt": _method("inv_sqrt"),
    "softmax": _softmax,
    "quadratic": _function("stock_quadratic", "x", "a", "b", "c"),
    "where": _where,
    "mean": _reduction("mean"),
    "sum": _reduction("sum"),
    "max_pool2d": _pool("max_pool2d"),
    "avg_pool2d": _pool("avg_pool2d"),
    "reshape": _method("reshape", "shape"),
    "permute": _method("permute", "dims"),
    "expand": _method("expand", "shape"),
    "take": _take,
    "concat": _concat,
    "gather_rows": _method("index_select", "dim", "index"),
}
_COMPOSED = (ops.softmax, ops.quadratic, ops.layer_norm, ops.rms_norm, ops.gelu, ops.silu, ops.where)
