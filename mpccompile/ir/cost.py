"""What an operation costs online, in closed form: enough to compare two ways of computing the same.

``cost_of`` is for this package's protocols when nothing is known of the data: calibrated ranges and proven bounds make
a compiled program cheaper, and its exact figures come from a dry run. ``stock_cost_of`` is for CrypTen 0.4.1 as it
comes, with its default settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import fx

from mpccompile.ir import ops
from mpccompile.ir.program import Program, Secrecy
from mpccompile.ir.rewrite import arguments, is_call, shape_of, target_of, value_of
from mpccompile.ir.secrecy import infer

Levels = Mapping[fx.Node, Secrecy]


@dataclass(frozen=True)
class Cost:
    """Online traffic.

    Attributes:
        bytes_sent: Bytes one party sends; for stock CrypTen what its own counter shows, sent and received.
        rounds: Messages that later work has to wait for.
    """

    bytes_sent: int = 0
    rounds: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.bytes_sent + other.bytes_sent, self.rounds + other.rounds)

    def times(self, count: int) -> Cost:
        """Return the cost of doing it ``count`` times, one after the other."""
        return Cost(self.bytes_sent * count, self.rounds * count)


# ------------------------------------------------------------------------------------------------ this package's own

OPENED_BYTES = 8
"""An opened element of Z_2^64; truncating takes one too."""
NARROW_BYTES = 6
"""An element opened for a function of one variable, in 48 bits. The opening of a truncation has as many."""
TABLE_BYTES = 4
"""An element of a one-hot row, or of the row looked up, in a ring of 32 bits."""
AND_LEVELS = 6
"""Levels of the prefix tree that compares 64-bit words; three words are opened at each."""

_FREE = (ops.reshape, ops.permute, ops.expand, ops.take, ops.gather_rows)
_SUMS = (*_FREE, ops.add, ops.sub, ops.neg, ops.concat, ops.where, ops.sum)
_CURVES = (ops.gelu, ops.silu, ops.tanh, ops.sigmoid, ops.exp)
_TRUNCATED_LAST = (ops.linear, ops.matmul, ops.square, ops.quadratic, ops.rms_norm, ops.softmax, ops.mean, *_CURVES)


def total_cost(program: Program) -> Cost:
    """Return the sum over a program's operations, one after the other."""
    levels = infer(program)
    return sum((cost_of(node, levels) for node in program.graph.nodes), Cost())


def cost_of(node: fx.Node, secrecy: Levels) -> Cost:
    """Return what one call costs with this package's protocols.

    A value is opened at most once, and truncated at most once: both are charged to the first call that needs them.
    """
    if node.op != "call_function" or secrecy[node] is Secrecy.PUBLIC:
        return Cost()
    rule = _RULES.get(target_of(node))
    return Cost() if rule is None else rule(_Call(node, secrecy))


@dataclass(frozen=True)
class _Call:
    """A call to be priced, and the questions the rules ask about it."""

    node: fx.Node
    levels: Levels

    @property
    def given(self) -> dict[str, Any]:
        return arguments(self.node)

    def size(self, node: fx.Node | None = None) -> int:
        return math.prod(shape_of(node or self.node))

    def rows(self, node: fx.Node) -> int:
        return math.prod(shape_of(node)[:-1])

    def secret(self, value: object) -> bool:
        return isinstance(value, fx.Node) and self.levels[value] is Secrecy.SECRET

    def live(self, *values: object) -> list[fx.Node]:
        """Return the secret operands that are no stored weights: those that have to be opened."""
        found = [value for value in values if isinstance(value, fx.Node) and self.secret(value)]
        return [value for value in dict.fromkeys(found) if value.op != "get_attr"]

    def settled(self, *values: fx.Node) -> Cost:
        """Price the truncations that operands still need."""
        sizes = [self.size(value) for value in values if self._needs_truncation(value)]
        return Cost(OPENED_BYTES * sum(sizes), int(bool(sizes)))

    def opened(self, *values: fx.Node) -> Cost:
        """Price opening operands in one round."""
        sizes = [self.size(value) for value in values if not self._was_opened(value, self.node)]
        return Cost(OPENED_BYTES * sum(sizes), int(bool(sizes)))

    def curve_opened(self, x: fx.Node) -> Cost:
        """Price the narrow opening of a function's argument; a truncation just before it is one."""
        fresh = self._is_fresh(x) or self._was_opened(x, self.node)
        return Cost() if fresh else Cost(NARROW_BYTES * self.size(x), 1)

    def is_raw(self, value: object) -> bool:
        """Say whether a value still holds the fractional bits of a product with a public factor."""
        if not isinstance(value, fx.Node) or not self.secret(value):
            return False
        if is_call(value, ops.mul):
            factor = [arg for arg in value.args if not self.secret(arg)]
            return bool(factor) and not _is_whole(factor[0])
        return is_call(value, *_SUMS) and any(self.is_raw(operand) for operand in value.all_input_nodes)

    def _needs_truncation(self, value: fx.Node) -> bool:
        if not self.is_raw(value):
            return False
        return not any(user < self.node and not is_call(user, *_SUMS) for user in value.users)

    def _was_opened(self, value: fx.Node, by: fx.Node) -> bool:
        if any(user < by and value in _opens(user, self) for user in value.users):
            return True
        viewed = value.args[0] if is_call(value, *_FREE) else None
        return isinstance(viewed, fx.Node) and self._was_opened(viewed, value)

    def _is_fresh(self, value: fx.Node) -> bool:
        if self.is_raw(value):
            return True
        if is_call(value, *_FREE) and isinstance(value.args[0], fx.Node):
            return self._is_fresh(value.args[0])
        if is_call(value, ops.mul):
            return all(self.secret(arg) for arg in value.args)
        return is_call(value, *_TRUNCATED_LAST)


def _is_whole(factor: object) -> bool:
    if isinstance(factor, fx.Node):
        return not value_of(factor).is_floating_point()
    return isinstance(factor, int)


def _opens(user: fx.Node, call: _Call) -> list[fx.Node]:
    """Return which operands a call opens in full width, as they are."""
    if is_call(user, ops.linear, ops.square, ops.relu):
        return call.live(user.args[0])
    if is_call(user, ops.matmul) or (is_call(user, ops.mul) and all(call.secret(arg) for arg in user.args)):
        return call.live(*user.args)
    return []


def _truncated(size: int) -> Cost:
    return Cost(OPENED_BYTES * size, 1)


def _product(call: _Call) -> Cost:
    """Price a product of secrets, of a secret and a weight (only the secret is opened), or of a public factor."""
    operands = call.live(*call.node.args[:2])
    if all(call.secret(arg) for arg in call.node.args[:2]):
        return call.settled(*operands) + call.opened(*operands) + _truncated(call.size())
    if is_call(call.node, ops.matmul):
        return call.settled(*operands) + _truncated(call.size())
    factor = [arg for arg in call.node.args if not call.secret(arg)]
    return Cost() if _is_whole(factor[0]) else call.settled(*operands)


def _square(call: _Call) -> Cost:
    x = call.given["x"]
    return call.settled(x) + call.opened(x) + _truncated(call.size())


def _quadratic(call: _Call) -> Cost:
    """The opening that a truncation of x leaves serves; the result is truncated once."""
    x = call.given["x"]
    return call.settled(x) + call.curve_opened(x) + Cost(NARROW_BYTES * call.size(), 1)


def _conv2d(call: _Call) -> Cost:
    x, weight = call.given["x"], call.given["weight"]
    windows = call.size() // shape_of(weight)[0] * math.prod(shape_of(weight)[1:])
    return call.settled(x) + _truncated(windows) + _truncated(call.size())


def _embedding(call: _Call) -> Cost:
    ids, table = call.given["ids"], call.given["weight"]
    if not call.secret(ids) or ids.op == "get_attr":
        return Cost()
    return Cost(TABLE_BYTES * (call.size(ids) * shape_of(table)[0] + call.size()), 2)


def _inverse(call: _Call) -> Cost:
    """Open narrowly, truncate the series, and once more to the usual fractional bits."""
    x = call.given["x"]
    return call.settled(x) + call.curve_opened(x) + _truncated(call.size()).times(2)


def _norm(call: _Call) -> Cost:
    """Scale the input to 16 significant bits, centre it, sum its squares, invert their root, multiply.

    The weight meets the value while the root is taken: more bytes, no more rounds.
    """
    size, rows = call.size(), call.rows(call.node)
    centring = _truncated(rows) if is_call(call.node, ops.layer_norm) else Cost()
    root = _truncated(rows).times(2)
    product = _truncated(rows) + _truncated(size)
    weighted = Cost(2 * OPENED_BYTES * size) if call.given["weight"] is not None else Cost()
    return _truncated(size) + centring + _truncated(size) + root + product + weighted


def _softmax(call: _Call) -> Cost:
    """One series or square (or a comparison), then the sum of each row, its inverse, and a product."""
    x, size, rows = call.given["x"], call.size(), call.rows(call.node)
    weights = call.curve_opened(x) + _truncated(size)
    sums = _truncated(rows).times(2)
    if call.given["form"] == "2relu":
        weights = call.opened(x) + _comparison(size)
        sums += Cost(TOTAL_COMPARISONS * (OPENED_BYTES * rows + _comparison(rows).bytes_sent), AND_LEVELS + 4)
    return call.settled(x) + weights + sums + _truncated(size + rows) + _truncated(size)


TOTAL_COMPARISONS = 3
"""A row's sum is compared with 2^-6, and with each sixteenth of its largest: 2.5 of them for sums of up to 10."""


def _curve(call: _Call) -> Cost:
    x = call.given["x"]
    return call.settled(x) + call.curve_opened(x) + _truncated(call.size())


def _comparison(size: int) -> Cost:
    levels = Cost(3 * OPENED_BYTES * size, 1).times(AND_LEVELS)
    return levels + Cost(-(-size // 8), 1) + _truncated(size)


def _relu(call: _Call) -> Cost:
    x = call.given["x"]
    return call.settled(x) + call.opened(x) + _comparison(call.size())


def _max_pool2d(call: _Call) -> Cost:
    window = math.prod(call.given["kernel"])
    levels = math.ceil(math.log2(window)) if window > 1 else 0
    one = _truncated(call.size()) + _comparison(call.size())
    return Cost(one.bytes_sent * (window - 1), one.rounds * levels)


_RULES: dict[Callable[..., Any], Callable[[_Call], Cost]] = {
    **dict.fromkeys((ops.linear, ops.matmul, ops.mul), _product),
    ops.square: _square,
    ops.quadratic: _quadratic,
    ops.conv2d: _conv2d,
    ops.embedding: _embedding,
    **dict.fromkeys((ops.layer_norm, ops.rms_norm), _norm),
    ops.softmax: _softmax,
    ops.relu: _relu,
    ops.max_pool2d: _max_pool2d,
    **dict.fromkeys((ops.mean, ops.avg_pool2d), lambda call: _truncated(call.size())),
    **dict.fromkeys((ops.reciprocal, ops.rsqrt), _inverse),
    **dict.fromkeys(_CURVES, _curve),
}

# -------------------------------------------------------------------------------------------------------- stock CrypTen

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
    return Cost() if rule is None else rule(_Call(node, secrecy))


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


def _stock_pair(call: _Call) -> Cost:
    secrets = [arg for arg in call.node.args[:2] if isinstance(arg, fx.Node) and call.secret(arg)]
    return beaver_product(call.size(secrets[0]), call.size(secrets[1])) if len(secrets) > 1 else Cost()


def _stock_embedding(call: _Call) -> Cost:
    ids, table = call.given["ids"], call.given["weight"]
    if not call.secret(ids):
        return Cost()
    return beaver_product(call.size(ids) * shape_of(table)[0], call.size(table))


def _stock_norm(call: _Call) -> Cost:
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


def _stock_softmax(call: _Call) -> Cost:
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


def _stock_gelu(call: _Call) -> Cost:
    """A Taylor series of erf whose odd powers are each computed anew, then two products."""
    size, cost = call.size(), Cost()
    for term in range(1, ERF_TERMS + 1):
        power = 2 * term + 1
        squares, products = power.bit_length() - 1, power.bit_count() - 1
        cost += _stock_square(size).times(squares) + beaver_product(size, size).times(products)
    return cost + beaver_product(size, size)


def _stock_relu(call: _Call) -> Cost:
    return _stock_compare(call.size()) + beaver_product(call.size(), call.size())


_STOCK_RULES: dict[Callable[..., Any], Callable[[_Call], Cost]] = {
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
