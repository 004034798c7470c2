"""What an operation costs online in CrypTen 0.4.1 as it comes, with its default settings, in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import fx

from mpccompile.ir import ops
from mpccompile.ir.cost import Call, Cost, Levels
from mpccompile.ir.program import Secrecy
from mpccompile.ir.rewrite import shape_of, target_of

STOCK_OPENED_BYTES = 16
"""CrypTen's counter: an opened element is 8 bytes sent and 8 received."""
STOCK_COMPARE_BYTES = 168
STOCK_COMPARE_ROUNDS = 8
EXP_SQUARINGS = 8
RECIPROCAL_STEPS = 10
ROOT_STEPS = 3
ERF_TERMS = 8
SIGMOID_STEPS = 2
"""Of three, the first starts from a public number and is free."""


def stock_cost_of(node: fx.Node, secrecy: Levels) -> Cost:
    """Return what one call costs in CrypTen 0.4.1: each product opens both operands anew, truncation is local."""
    if node.op != "call_function" or secrecy[node] is Secrecy.PUBLIC:
        return Cost()
    rule = _STOCK_RULES.get(target_of(node))
    return Cost() if rule is None else rule(Call(node, secrecy))


def beaver_product(left: int, right: int) -> Cost:
    """Return the cost of a product of secrets of ``left`` and ``right`` elements."""
    return Cost(STOCK_OPENED_BYTES * (left + right), 1)


def _stock_square(size: int) -> Cost:
    return Cost(STOCK_OPENED_BYTES * size, 1)


def _stock_compare(size: int) -> Cost:
    return Cost(STOCK_COMPARE_BYTES * size, STOCK_COMPARE_ROUNDS)


def _stock_exp(size: int) -> Cost:
    return _stock_square(size).times(EXP_SQUARINGS)


def _stock_reciprocal(size: int, *, positive: bool) -> Cost:
    step = _stock_square(size) + beaver_product(size, size)
    cost = _stock_exp(size) + step.times(RECIPROCAL_STEPS)
    return cost if positive else cost + _stock_compare(size) + beaver_product(size, size).times(2)


def _stock_inverse_root(size: int) -> Cost:
    step = _stock_square(size) + beaver_product(size, size).times(2)
    return _stock_exp(size) + step.times(ROOT_STEPS)


def _stock_pair(call: Call) -> Cost:
    secrets = [arg for arg in call.node.args[:2] if isinstance(arg, fx.Node) and call.secret(arg)]
    return beaver_product(call.size(secrets[0]), call.size(secrets[1])) if len(secrets) > 1 else Cost()


def _stock_embedding(call: Call) -> Cost:
    ids, table = call.given["ids"], call.given["weight"]
    if not call.secret(ids):
        return Cost()
    return beaver_product(call.size(ids) * shape_of(table)[0], call.size(table))


def _stock_norm(call: Call) -> Cost:
    size, rows = call.size(), call.rows(call.node)
    cost = _stock_square(size) + _stock_inverse_root(rows) + beaver_product(size, rows)
    weight = call.given["weight"]
    return cost if weight is None else cost + beaver_product(size, call.size(weight))


def _stock_maximum(rows: int, length: int) -> Cost:
    """Halve each row int(ln length) times, then compare what is left pair by pair."""
    cost, left = Cost(), length
    for _ in range(int(math.log(length))):
        pairs = rows * (left // 2)
        cost += _stock_compare(pairs) + beaver_product(pairs, pairs).times(2)
        left = left - left // 2
    pairs = rows * left * (left - 1)
    multiplied = Cost(STOCK_OPENED_BYTES * 2 * rows * left * max(left - 2, 0), math.ceil(math.log2(max(left - 1, 1))))
    return cost + _stock_compare(pairs) + multiplied + beaver_product(rows * left, rows * left)


def _stock_softmax(call: Call) -> Cost:
    size, rows = call.size(), call.rows(call.node)
    weights = {
        "exp": lambda: _stock_maximum(rows, size // max(rows, 1)) + _stock_exp(size),
        "2quad": lambda: _stock_square(size),
        "2relu": lambda: _stock_relu(call),
    }[call.given["form"]]()
    return weights + _stock_reciprocal(rows, positive=True) + beaver_product(size, rows)


def _stock_sigmoid(size: int) -> Cost:
    step = _stock_square(size) + beaver_product(size, size)
    chosen = beaver_product(size, size).times(2)
    return _stock_compare(size) + beaver_product(size, size) + _stock_exp(size) + step.times(SIGMOID_STEPS) + chosen


def _stock_gelu(call: Call) -> Cost:
    """A Taylor series of erf whose odd powers are each computed anew, then two products."""
    size, cost = call.size(), Cost()
    for term in range(1, ERF_TERMS + 1):
        power = 2 * term + 1
        squares, products = power.bit_length() - 1, power.bit_count() - 1
        cost += _stock_square(size).times(squares) + beaver_product(size, size).times(products)
    return cost + beaver_product(size, size)


def _stock_relu(call: Call) -> Cost:
    return _stock_compare(call.size()) + beaver_product(call.size(), call.size())


_STOCK_RULES: dict[Callable[..., Any], Callable[[Call], Cost]] = {
    **dict.fromkeys((ops.linear, ops.matmul, ops.mul, ops.conv2d), _stock_pair),
    **dict.fromkeys((ops.square, ops.quadratic), lambda call: _stock_square(call.size())),
    ops.embedding: _stock_embedding,
    **dict.fromkeys((ops.layer_norm, ops.rms_norm), _stock_norm),
    ops.softmax: _stock_softmax,
    ops.gelu: _stock_gelu,
    ops.relu: _stock_relu,
    ops.exp: lambda call: _stock_exp(call.size()),
    ops.reciprocal: lambda call: _stock_reciprocal(call.size(), positive=False),
    ops.rsqrt: lambda call: _stock_inverse_root(call.size()),
    **dict.fromkeys((ops.sigmoid, ops.tanh), lambda call: _stock_sigmoid(call.size())),
    ops.silu: lambda call: _stock_sigmoid(call.size()) + beaver_product(call.size(), call.size()),
}
