"""What an operation costs online, in closed form: enough to compare two ways of computing the same.

This is for the package's own protocols when nothing is known of the data: calibrated ranges and proven bounds make a
compiled program cheaper, and its exact figures come from a dry run. ``stock_cost`` is the same for stock CrypTen.
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


OPENED_BYTES = 8
"""An opened element of Z_2^64; truncating takes one too."""
NARROW_BYTES = 6
"""An element opened for a function of one variable, in 48 bits. The opening of a truncation has as many."""
TABLE_BYTES = 4
"""An element of a one-hot row, or of the row looked up, in a ring of 32 bits."""
WORD_BITS = 64
"""Bits of a word that is compared."""

_FREE = (ops.reshape, ops.permute, ops.expand, ops.take, ops.gather_rows)
_SUMS = (*_FREE, ops.add, ops.sub, ops.neg, ops.concat, ops.where, ops.sum)
_CURVES = (ops.gelu, ops.silu, ops.tanh, ops.sigmoid, ops.exp)
_ROWS = (ops.softmax, ops.attend)
_TRUNCATED_LAST = (ops.linear, ops.matmul, ops.square, ops.quadratic, ops.rms_norm, *_ROWS, ops.mean, *_CURVES)


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
    return Cost() if rule is None else rule(Call(node, secrecy))


@dataclass(frozen=True)
class Call:
    """A call to be priced, and the questions the rules ask about it."""

    node: fx.Node
    levels: Levels

    @property
    def given(self) -> dict[str, Any]:
        """The arguments by name."""
        return arguments(self.node)

    def size(self, node: fx.Node | None = None) -> int:
        """Return the elements of a value, of the call's own by default."""
        return math.prod(shape_of(node or self.node))

    def rows(self, node: fx.Node) -> int:
        """Return how many rows a value has."""
        return math.prod(shape_of(node)[:-1])

    def secret(self, value: object) -> bool:
        """Say whether an argument is secret."""
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


def _opens(user: fx.Node, call: Call) -> list[fx.Node]:
    """Return which operands a call opens in full width, as they are."""
    if is_call(user, ops.linear, ops.square, ops.relu):
        return call.live(user.args[0])
    if is_call(user, ops.matmul) or (is_call(user, ops.mul) and all(call.secret(arg) for arg in user.args)):
        return call.live(*user.args)
    if is_call(user, ops.attend):
        return call.live(user.args[1])
    return []


def _truncated(size: int) -> Cost:
    return Cost(OPENED_BYTES * size, 1)


def _product(call: Call) -> Cost:
    """Price a product of secrets, of a secret and a weight (only the secret is opened), or of a public factor."""
    operands = call.live(*call.node.args[:2])
    if all(call.secret(arg) for arg in call.node.args[:2]):
        return call.settled(*operands) + call.opened(*operands) + _truncated(call.size())
    if is_call(call.node, ops.matmul):
        return call.settled(*operands) + _truncated(call.size())
    factor = [arg for arg in call.node.args if not call.secret(arg)]
    return Cost() if _is_whole(factor[0]) else call.settled(*operands)


def _square(call: Call) -> Cost:
    x = call.given["x"]
    return call.settled(x) + call.opened(x) + _truncated(call.size())


def _quadratic(call: Call) -> Cost:
    """The opening that a truncation of x leaves serves; the result is truncated once."""
    x = call.given["x"]
    return call.settled(x) + call.curve_opened(x) + Cost(NARROW_BYTES * call.size(), 1)


def _conv2d(call: Call) -> Cost:
    x, weight = call.given["x"], call.given["weight"]
    windows = call.size() // shape_of(weight)[0] * math.prod(shape_of(weight)[1:])
    return call.settled(x) + _truncated(windows) + _truncated(call.size())


def _embedding(call: Call) -> Cost:
    ids, table = call.given["ids"], call.given["weight"]
    if not call.secret(ids) or ids.op == "get_attr":
        return Cost()
    rows = Cost(TABLE_BYTES * (call.size(ids) * shape_of(table)[0] + call.size()), 2)
    return rows if _is_given(ids) else Cost(-(-call.size(ids) * _place_bits(table) // 8), 1) + rows


def _is_given(ids: fx.Node) -> bool:
    """Say whether ids are an input of the client, or a view of one."""
    while is_call(ids, ops.reshape, ops.permute, ops.expand, ops.take):
        ids = ids.all_input_nodes[0]
    return ids.op == "placeholder"


def _place_bits(table: fx.Node) -> int:
    return max(1, (shape_of(table)[0] - 1).bit_length())


def _inverse(call: Call) -> Cost:
    """Open narrowly, truncate the series, and once more to the usual fractional bits."""
    x = call.given["x"]
    return call.settled(x) + call.curve_opened(x) + _truncated(call.size()).times(2)


def _norm(call: Call) -> Cost:
    """Scale the input to 16 significant bits, centre it, sum its squares, invert their root, multiply.

    The weight meets the value while the root is taken: more bytes, no more rounds.
    """
    size, rows = call.size(), call.rows(call.node)
    centring = _truncated(rows) if is_call(call.node, ops.layer_norm) else Cost()
    root = _truncated(rows).times(2)
    product = _truncated(rows) + _truncated(size)
    weighted = Cost(2 * OPENED_BYTES * size) if call.given["weight"] is not None else Cost()
    return _truncated(size) + centring + _truncated(size) + root + product + weighted


def _softmax(call: Call) -> Cost:
    """One series or square (or a comparison), then the sum of each row, its inverse, and a product."""
    return _undivided(call) + _truncated(call.size())


def _attend(call: Call) -> Cost:
    """As softmax, but what is divided is the mix of values: it is truncated, opened, multiplied and truncated again.

    The mix is made while the sums are inverted: more bytes, no more rounds.
    """
    values, size = call.given["y"], call.size()
    mixed = call.opened(values).bytes_sent + 2 * OPENED_BYTES * size
    return call.settled(values) + _undivided(call) + Cost(mixed) + _truncated(size)


def _undivided(call: Call) -> Cost:
    """Price the weights of a softmax, what each row is divided by, and opening both."""
    x = call.given["x"]
    size, rows = call.size(x), call.rows(x)
    weights = call.curve_opened(x) + _truncated(size)
    sums = _truncated(rows).times(2)
    if call.given["form"] == "2relu":
        weights = call.opened(x) + _comparison(size)
        sums += Cost(
            TOTAL_COMPARISONS * (OPENED_BYTES * rows + _comparison(rows).bytes_sent), _comparison(rows).rounds + 2
        )
    return call.settled(x) + weights + sums + _truncated(size + rows)


TOTAL_COMPARISONS = 3
"""A row's sum is compared with 2^-6, and with each sixteenth of its largest: 2.5 of them for sums of up to 10."""


def _curve(call: Call) -> Cost:
    x = call.given["x"]
    return call.settled(x) + call.curve_opened(x) + _truncated(call.size())


def _comparison(size: int) -> Cost:
    """Price a sign once its value is open: three half words at each level of ANDs, two at the last, and one bit."""
    cost, half = Cost(-(-size // 8), 1), WORD_BITS // 2
    while half:
        cost += Cost((3 if half > 1 else 2) * -(-size * half // 8), 1)
        half //= 2
    return cost


def _argmax(call: Call) -> Cost:
    """A tournament: at each level a comparison for every pair, and from the second on an opening of its places."""
    x = call.given["x"]
    left, cost, opened = shape_of(x)[-1], call.settled(x), OPENED_BYTES
    while left > 1:
        pairs = call.size() * (left // 2)
        cost += Cost(opened * pairs, 1) + _comparison(pairs)
        left, opened = left - left // 2, 2 * OPENED_BYTES
    return cost


def _relu(call: Call) -> Cost:
    x = call.given["x"]
    return call.settled(x) + call.opened(x) + _comparison(call.size())


def _max_pool2d(call: Call) -> Cost:
    window = math.prod(call.given["kernel"])
    levels = math.ceil(math.log2(window)) if window > 1 else 0
    one = _truncated(call.size()) + _comparison(call.size())
    return Cost(one.bytes_sent * (window - 1), one.rounds * levels)


_RULES: dict[Callable[..., Any], Callable[[Call], Cost]] = {
    **dict.fromkeys((ops.linear, ops.matmul, ops.mul), _product),
    ops.square: _square,
    ops.quadratic: _quadratic,
    ops.conv2d: _conv2d,
    ops.embedding: _embedding,
    **dict.fromkeys((ops.layer_norm, ops.rms_norm), _norm),
    ops.softmax: _softmax,
    ops.attend: _attend,
    ops.relu: _relu,
    ops.argmax: _argmax,
    ops.max_pool2d: _max_pool2d,
    **dict.fromkeys((ops.mean, ops.avg_pool2d), lambda call: _truncated(call.size())),
    **dict.fromkeys((ops.reciprocal, ops.rsqrt), _inverse),
    **dict.fromkeys(_CURVES, _curve),
}
