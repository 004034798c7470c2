"""How far rounding in 2ReLU's attentions can move a model's answers."""

from __future__ import annotations

import math

import torch

from mpccompile.ir import ops
from mpccompile.ir.rewrite import arguments, is_call
from mpccompile.runtime.forms import LEAST_TOTAL

UNIT = 2.0**-16
CHANCE = 1e-9


class Sites(torch.fx.Interpreter):
    """Runs a program and keeps, of each softmax, the scores, the sum of each row's weights, and the mix of values."""

    def __init__(self, module):
        super().__init__(module)
        self.found = []
        self._last = None

    def run_node(self, n):
        if is_call(n, ops.softmax):
            given = {name: self.env[value] for name, value in arguments(n).items() if isinstance(value, torch.fx.Node)}
            scores, mask = watched(given["x"]), given.get("mask")
            weights = torch.relu(scores) if mask is None else torch.relu(scores) * mask
            self._last = (scores, weights.sum(-1, keepdim=True).detach())
            return ops.softmax(scores, mask, "2relu")
        result = super().run_node(n)
        if is_call(n, ops.matmul) and is_call(n.all_input_nodes[0], ops.softmax):
            result = watched(result)
            self.found.append((*self._last, result))
        return result


def watched(value):
    """Return a value whose gradient is kept."""
    value = value + torch.zeros_like(value, requires_grad=True)
    value.retain_grad()
    return value


def rounding_bound(program):
    """Return what rounding scores and mixes moves an output by, but for one run in 10^9, to first order.

    A truncation rounds up or down at random, right on average, by less than one unit u = 2^-16, each for itself. The
    sum of c_i times such errors stays below u sqrt(log(2 n / p) / 2 sum c_i^2) for n outputs but for a chance of p
    (Hoeffding, "Probability inequalities for sums of bounded random variables", JASA 58, 1963). A score is rounded
    once: c is the output's derivative. A mix of values is rounded before it is divided by the row's sum s: c is the
    derivative over max(s, 2^-6), which is what makes small sums matter. A row without a positive score is 0, which
    rounds to itself.
    """
    sites = Sites(program.module)
    sites.garbage_collect_values = False
    outputs = sites.run(*program.example_inputs)[0].flatten()
    assert sites.found
    worst = 0.0
    for output in outputs:
        for scores, _total, mixed in sites.found:
            scores.grad = mixed.grad = None
        output.backward(retain_graph=True)
        squares = 0.0
        for scores, total, mixed in sites.found:
            divided = mixed.grad / total.clamp(min=LEAST_TOTAL) * (total > 0)
            squares += float(scores.grad.square().sum() + divided.square().sum())
        worst = max(worst, squares)
    return UNIT * math.sqrt(worst * math.log(2 * len(outputs) / CHANCE) / 2)
