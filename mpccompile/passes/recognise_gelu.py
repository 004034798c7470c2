"""Find GELU where a model writes it out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import fx

from mpccompile.ir import ops
from mpccompile.ir.rewrite import copied, insert_call, is_call, replace, tidy, weight_data

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mpccompile.ir.program import Program

Polynomial = dict[int, float]

# By the function that is written out: the form of GELU, and its argument as a polynomial in x. Hendrycks and Gimpel,
# "Gaussian Error Linear Units": x * Phi(x), and the approximation of Phi by a tanh.
_ROOT = math.sqrt(2 / math.pi)
_ARGUMENTS: dict[Callable[..., object], tuple[str, Polynomial]] = {
    torch.ops.aten.erf.default: ("none", {1: 1 / math.sqrt(2)}),
    ops.tanh: ("tanh", {1: _ROOT, 3: _ROOT * 0.044715}),
}
# Models write the constants with five digits or more.
_RELATIVE = 1e-4
_DEPTH = 8
_HIGHEST_DEGREE = 3


def recognise_gelu(program: Program) -> Program:
    """Replace each written-out GELU by one op.

    before: ``mul(mul(%x, 0.5), add(erf(mul(%x, 0.7071)), 1.0))``, its factors in any order
    after: ``gelu(%x, none)``

    before: ``mul(mul(%x, 0.5), add(tanh(mul(add(%x, mul(%x3, 0.044715)), 0.7979)), 1.0))``
    after: ``gelu(%x, tanh)``
    """
    module = copied(program.module)
    reader = _Reader(module, program.secret_attributes)
    for node in list(module.graph.nodes):
        if node.op == "call_function" and node.target in _ARGUMENTS:
            form, wanted = _ARGUMENTS[node.target]
            for x in _below(node.args[0]):
                if _close(reader.polynomial(node.args[0], x), wanted):
                    root = reader.root(node, _Climb(x, 0.0, 1.0, has_x=False))
                    if root is not None:
                        replace(root, insert_call(root, ops.gelu, x, form, like=root))
                    break
    tidy(module)
    return program.with_changes(module=module)


@dataclass(frozen=True)
class _Climb:
    """A value on the way up from ``t``, an erf or tanh: ``a + b * t``, times x where ``has_x``."""

    x: fx.Node
    a: float
    b: float
    has_x: bool
    depth: int = 0


@dataclass(frozen=True)
class _Reader:
    module: fx.GraphModule
    secret: frozenset[str]

    def number(self, value: object) -> float | None:
        """Return a number, or a public constant of one element, as a float."""
        if isinstance(value, float | int):
            return float(value)
        if isinstance(value, fx.Node) and value.op == "get_attr" and value.target not in self.secret:
            data = weight_data(self.module, value)
            return float(data) if data.numel() == 1 else None
        return None

    def polynomial(self, value: object, x: fx.Node, depth: int = 0) -> Polynomial | None:
        """Return ``value`` as coefficients of powers of x, by degree; None where it is no such polynomial."""
        if value is x:
            return {1: 1.0}
        number = self.number(value)
        if number is not None:
            return {0: number}
        if not isinstance(value, fx.Node) or depth > _DEPTH:
            return None
        if not is_call(value, ops.add, ops.sub, ops.mul, ops.square, ops.neg):
            return None
        parts = [self.polynomial(arg, x, depth + 1) for arg in value.args]
        left, right = parts[0], parts[-1]
        if left is None or right is None:
            return None
        if is_call(value, ops.add):
            return _sum(left, right, 1.0)
        if is_call(value, ops.sub):
            return _sum(left, right, -1.0)
        return _product(left, {0: -1.0} if is_call(value, ops.neg) else right)

    def root(self, node: fx.Node, climb: _Climb) -> fx.Node | None:
        """Follow the users of ``node`` up to the one that is ``x * (0.5 + 0.5 * t)``."""
        if climb.has_x and _close({0: climb.a, 1: climb.b}, {0: 0.5, 1: 0.5}):
            return node
        if climb.depth > _DEPTH:
            return None
        for user in node.users:
            further = self._step(node, user, climb)
            found = self.root(user, further) if further is not None else None
            if found is not None:
                return found
        return None

    def _step(self, node: fx.Node, user: fx.Node, climb: _Climb) -> _Climb | None:
        if not is_call(user, ops.add, ops.mul) or user.args[0] is user.args[1]:
            return None
        other = self.polynomial(user.args[1] if user.args[0] is node else user.args[0], climb.x)
        if other is None or len(other) != 1:
            return None
        ((degree, factor),) = other.items()
        if is_call(user, ops.add):
            fits = degree == int(climb.has_x)
            return _Climb(climb.x, climb.a + factor, climb.b, climb.has_x, climb.depth + 1) if fits else None
        if degree + int(climb.has_x) > 1:
            return None
        return _Climb(climb.x, climb.a * factor, climb.b * factor, climb.has_x or degree == 1, climb.depth + 1)


def _below(value: object) -> Iterator[fx.Node]:
    """Yield the nodes ``value`` is computed from, the nearest first."""
    level = [value] if isinstance(value, fx.Node) else []
    for _ in range(_DEPTH):
        yield from level
        level = list(dict.fromkeys(operand for node in level for operand in node.all_input_nodes))


def _sum(left: Polynomial, right: Polynomial, sign: float) -> Polynomial:
    degrees = sorted({*left, *right})
    return {degree: left.get(degree, 0.0) + sign * right.get(degree, 0.0) for degree in degrees}


def _product(left: Polynomial, right: Polynomial) -> Polynomial | None:
    answer: Polynomial = {}
    for first, a in left.items():
        for second, b in right.items():
            answer[first + second] = answer.get(first + second, 0.0) + a * b
    return answer if max(answer) <= _HIGHEST_DEGREE else None


def _close(found: Polynomial | None, wanted: Polynomial) -> bool:
    if found is None or any(degree not in wanted and abs(factor) > 0 for degree, factor in found.items()):
        return False
    return all(math.isclose(found.get(degree, 0.0), factor, rel_tol=_RELATIVE) for degree, factor in wanted.items())
