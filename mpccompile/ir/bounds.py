"""Bounds on absolute values that hold for every input, proven from the weights and from the ranges that are tested.

A bound below 2^13 lets a product live in a ring of 48 bits, where the masked opening that a truncation left can serve
again. It has to be a proof: a product that overflows its ring is wrong by a wrap-around.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from mpccompile.ir import ops
from mpccompile.ir.rewrite import shape_of
from mpccompile.runtime.quadratics import largest_value

if TYPE_CHECKING:
    from mpccompile.ir.program import Program

SLACK = 1.05
"""For fixed-point rounding, of the operands and of the result."""


@dataclass(frozen=True)
class Bound:
    """What |x| stays below.

    Attributes:
        size: One non-negative number per element, of the value's shape (or expanded to it).
        length: Bound of the Euclidean length of a row of the last dim, or infinity.
    """

    size: Tensor
    length: float = math.inf

    @property
    def row_length(self) -> float:
        """Return the better of the two bounds of a row's length."""
        if self.size.dim() == 0 or self.size.numel() == 0:
            return self.length
        return min(self.length, float(self.size.square().sum(-1).max().sqrt()))


@dataclass(frozen=True)
class _Stored:
    """A weight, whose bound is made for one call that reads it: those of all weights are as large as the model."""

    data: Tensor


Ranges = Mapping[str, tuple[float, float]]
_WAVES = (torch.ops.aten.cos.default, torch.ops.aten.sin.default)


def bounds(program: Program, tested: Ranges) -> dict[str, float]:
    """Return, by node name, what the absolute value of each operation's result stays below; infinity where unproven.

    Args:
        program: A lowered program.
        tested: For calls of functions of one variable, the range outside of which the call fails.
    """
    with torch.no_grad():
        walker = _Walker(program, tested)
        walker.run(*program.example_inputs)
    return walker.largest


class _Walker(fx.Interpreter):
    def __init__(self, program: Program, tested: Ranges) -> None:
        super().__init__(program.module)
        self._tested = tested
        self._limits = {spec.name: spec.limit for spec in program.inputs}
        self._attributes = program.secret_attributes
        self.largest: dict[str, float] = {}

    def run_node(self, n: fx.Node) -> Any:
        if n.op == "placeholder":
            value = super().run_node(n)
            if not value.is_floating_point():
                return value
            limit = self._limits.get(str(n.target))
            return _unknown(n) if limit is None else _constant(n, limit)
        if n.op == "get_attr" and str(n.target) in self._attributes:
            return _Stored(super().run_node(n))
        if n.op == "output":
            return None
        args, kwargs = fx.node.map_aggregate(self.fetch_args_kwargs_from_env(n), _bounded)
        if n.op != "call_function" or not _holds_bound((args, kwargs)):
            value = super().run_node(n)
            # Of a position that is an input: what stands here are those of the example, and others may be larger.
            return torch.ones_like(value) if n.target in _WAVES else value
        result = self._bound(n, args, kwargs)
        self.largest[n.name] = SLACK * float(result.size.max()) if result.size.numel() else 0.0
        return result

    def _bound(self, n: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Bound:
        if n.name in self._tested and n.target in _CURVES:
            low, high = self._tested[n.name]
            return _constant(n, _CURVES[n.target](max(abs(low), abs(high))))
        if n.target is ops.quadratic:
            return _quadratic(*args, tested=self._tested.get(n.name))
        rule = _RULES.get(n.target)
        return _unknown(n) if rule is None else rule(n, *args, **kwargs)


def _bounded(value: Any) -> Any:
    return Bound(value.data.abs()) if isinstance(value, _Stored) else value


def _holds_bound(value: Any) -> bool:
    found: list[bool] = []
    fx.node.map_aggregate(value, lambda leaf: found.append(isinstance(leaf, Bound)))
    return any(found)


def _constant(n: fx.Node, size: float, length: float = math.inf) -> Bound:
    return Bound(torch.tensor(size).expand(shape_of(n)), length)


def _unknown(n: fx.Node) -> Bound:
    return _constant(n, math.inf)


def _size(x: Any) -> Tensor:
    return x.size if isinstance(x, Bound) else torch.as_tensor(x, dtype=torch.float32).abs()


def _linear(_n: fx.Node, x: Any, weight: Any, bias: Any = None) -> Bound:
    x = x if isinstance(x, Bound) else Bound(_size(x))
    rows = _size(weight)
    lengths = _lengths(rows)
    size = torch.minimum(_finite_matmul(x.size, rows.T), (x.row_length * lengths).expand(*x.size.shape[:-1], -1))
    return Bound(size if bias is None else size + _size(bias), x.row_length * float(_lengths(lengths)))


def _lengths(rows: Tensor) -> Tensor:
    """Return the Euclidean lengths along the last dim, without the squares between."""
    lengths: Tensor = torch.linalg.vector_norm(rows, dim=-1)
    return lengths


def _is_finite(sizes: Tensor) -> bool:
    """Look at the largest, which NaN is too; none is negative."""
    # amax, and not max, which copies what is transposed.
    return sizes.numel() == 0 or float(sizes.amax()) < math.inf


def _finite_matmul(a: Tensor, b: Tensor) -> Tensor:
    """Multiply bounds; infinity times zero counts as infinity, which is the safe side."""
    if not _is_finite(a) or not _is_finite(b):
        return torch.full((*torch.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]), math.inf)
    return torch.matmul(a, b)


def _matmul(_n: fx.Node, x: Any, y: Any) -> Bound:
    return Bound(_finite_matmul(_size(x), _size(y)))


def _norm(n: fx.Node, _x: Any, weight: Any = None, bias: Any = None, _eps: float = 0.0) -> Bound:
    """A normalised row has length at most sqrt(columns), so each element too."""
    columns = shape_of(n)[-1]
    gain = torch.ones(columns) if weight is None else _size(weight)
    shift = torch.zeros(columns) if bias is None else _size(bias)
    size = (math.sqrt(columns) * gain + shift).expand(shape_of(n))
    return Bound(size, math.sqrt(columns) * float(gain.max()) + float(shift.square().sum().sqrt()))


def _rms_norm(n: fx.Node, x: Any, weight: Any = None, eps: float = 0.0) -> Bound:
    return _norm(n, x, weight, None, eps)


def _same_view(target: Callable[..., Tensor]) -> Callable[..., Bound]:
    def rule(_n: fx.Node, x: Bound, *args: Any, **kwargs: Any) -> Bound:
        return Bound(target(x.size, *args, **kwargs))

    return rule


def _concat(_n: fx.Node, xs: Any, dim: int) -> Bound:
    return Bound(torch.cat([_size(x) for x in xs], dim))


def _sum_of_sizes(_n: fx.Node, x: Any, y: Any) -> Bound:
    length = sum(part.length if isinstance(part, Bound) else math.inf for part in (x, y))
    return Bound(_size(x) + _size(y), length)


def _product_of_sizes(_n: fx.Node, x: Any, y: Any) -> Bound:
    return Bound(torch.nan_to_num(_size(x) * _size(y), nan=math.inf, posinf=math.inf))


def _quadratic(x: Bound, a: float, b: float, c: float, *, tested: tuple[float, float] | None = None) -> Bound:
    size = x.size if tested is None else x.size.clamp(max=max(map(abs, tested)))
    return Bound(torch.nan_to_num(largest_value((a, b, c), size), nan=math.inf, posinf=math.inf))


def _attend(n: fx.Node, _x: Any, y: Any, *_mask: Any) -> Bound:
    """A row of a softmax adds up to one (or to zero), so its mix of values stays below the largest of them."""
    return Bound(_size(y).amax(-2, keepdim=True).expand(shape_of(n)))


def _conv2d(n: fx.Node, x: Any, weight: Any, bias: Any = None, *geometry: Any) -> Bound:
    sizes = _size(x), _size(weight)
    if not all(map(_is_finite, sizes)):
        return _unknown(n)
    return Bound(ops.conv2d(*sizes, None if bias is None else _size(bias), *geometry))


def _embedding(n: fx.Node, _ids: Any, weight: Any) -> Bound:
    table = _size(weight)
    return Bound(table.max(0).values.expand(shape_of(n)), float(_lengths(table).max()))


def _reduction(target: Callable[..., Tensor]) -> Callable[..., Bound]:
    def rule(_n: fx.Node, x: Bound, dims: Any, keepdim: bool = False) -> Bound:
        return Bound(target(x.size, dims, keepdim))

    return rule


def _shrinking(_n: fx.Node, x: Any, *_args: Any) -> Bound:
    """GELU and SiLU stay below their input in size, whatever its range."""
    return Bound(_size(x))


def _where(_n: fx.Node, _mask: Any, x: Any, y: Any) -> Bound:
    return Bound(torch.maximum(*torch.broadcast_tensors(_size(x), _size(y))))


_CURVES: dict[Any, Callable[[float], float]] = {
    ops.gelu: lambda edge: edge,
    ops.silu: lambda edge: edge,
    ops.tanh: lambda _edge: 1.0,
    ops.sigmoid: lambda _edge: 1.0,
    ops.exp: math.exp,
}
_RULES: dict[Any, Callable[..., Bound]] = {
    ops.linear: _linear,
    ops.conv2d: _conv2d,
    ops.matmul: _matmul,
    ops.layer_norm: _norm,
    ops.rms_norm: _rms_norm,
    ops.softmax: lambda n, *_args: _constant(n, 1.0, 1.0),
    ops.attend: _attend,
    ops.gelu: _shrinking,
    ops.silu: _shrinking,
    ops.tanh: lambda n, _x: _constant(n, 1.0),
    ops.sigmoid: lambda n, _x: _constant(n, 1.0),
    ops.relu: lambda _n, x: x,
    ops.argmax: lambda n, _x: _constant(n, float(shape_of(n.all_input_nodes[0])[-1] - 1)),
    ops.neg: lambda _n, x: x,
    ops.add: _sum_of_sizes,
    ops.sub: _sum_of_sizes,
    ops.mul: _product_of_sizes,
    ops.square: lambda n, x: _product_of_sizes(n, x, x),
    ops.embedding: _embedding,
    ops.concat: _concat,
    ops.mean: _reduction(ops.mean),
    ops.sum: _reduction(ops.sum),
    ops.where: _where,
    **{
        view: _same_view(view)
        for view in (
            *(ops.reshape, ops.permute, ops.expand, ops.take, ops.gather_rows),
            *(ops.max_pool2d, ops.avg_pool2d),
        )
    },
}
