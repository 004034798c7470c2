"""Closed forms of online traffic: ours against a dry run of the protocols, stock CrypTen's against published logs."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import BertConfig, BertModel

from mpccompile import compiler
from mpccompile.ir import ops
from mpccompile.ir.cost import Cost, cost_of, total_cost
from mpccompile.ir.program import Secrecy
from mpccompile.ir.secrecy import infer
from mpccompile.ir.stock_cost import stock_cost_of
from mpccompile.options import Options
from mpccompile.runtime import functions as mpc
from mpccompile.runtime.party import PlanningParty, activate
from mpccompile.runtime.row_weights import SoftmaxRange
from mpccompile.runtime.shared import ClientValue, Shared, StaticWeight
from tests.passes.build import Builder, only, values

# GPT-2, and 128 tokens made from a prompt of 4 without a cache of embeddings.
VOCAB, WIDTH, INNER, HEADS, LAYERS = 50257, 768, 3072, 12, 12


class Stock:
    """Adds up stock CrypTen's cost of calls on secrets, of which only shapes exist."""

    def __init__(self):
        self.graph, self.mode, self.total = fx.Graph(), FakeTensorMode(), Cost()

    def secret(self, *shape, dtype=torch.float32):
        node = self.graph.placeholder("x")
        with self.mode:
            node.meta["val"] = torch.empty(shape, dtype=dtype)
        return node

    def call(self, target, *operands):
        node = self.graph.call_function(target, operands)
        with self.mode:
            node.meta["val"] = target(*(operand.meta["val"] for operand in operands))
        self.total += stock_cost_of(node, dict.fromkeys(self.graph.nodes, Secrecy.SECRET))

    def linear(self, rows, inputs, outputs):
        self.call(ops.linear, self.secret(rows, inputs), self.secret(outputs, inputs))


def test_stock_embedding_of_gpt2_equals_the_published_log():
    stock = Stock()
    for tokens in [4] + [1] * 123:
        stock.call(ops.embedding, stock.secret(tokens, dtype=torch.int64), stock.secret(VOCAB, WIDTH))
    assert stock.total == Cost(76_679_316_208, 124)


def test_stock_layers_of_gpt2_equal_the_published_log():
    stock = Stock()
    head = WIDTH // HEADS
    for rows, context in [(4, 4)] + [(1, 4 + step) for step in range(1, 124)]:
        for _ in range(3):
            stock.linear(rows, WIDTH, WIDTH)
        stock.call(ops.matmul, stock.secret(HEADS, rows, head), stock.secret(HEADS, head, context))
        stock.call(ops.matmul, stock.secret(HEADS, rows, context), stock.secret(HEADS, context, head))
        stock.linear(rows, WIDTH, WIDTH)
        stock.linear(rows, WIDTH, INNER)
        stock.linear(rows, INNER, WIDTH)
    assert LAYERS * stock.total.bytes_sent == 171_111_642_624


def test_stock_functions_are_sums_of_products_and_comparisons():
    stock = Stock()
    stock.call(ops.square, stock.secret(5))
    assert stock.total == Cost(16 * 5, 1)
    stock.call(ops.relu, stock.secret(5))
    assert stock.total == Cost(16 * 5 + 168 * 5 + 32 * 5, 1 + 8 + 1)


@pytest.mark.parametrize(
    "target",
    [
        ops.softmax,
        ops.gelu,
        ops.tanh,
        ops.sigmoid,
        ops.silu,
        ops.exp,
        ops.reciprocal,
        ops.rsqrt,
        ops.layer_norm,
        ops.rms_norm,
    ],
)
def test_stock_functions_cost_more_than_ours(target):
    b = Builder()
    program = b.program(b.call(target, b.input("x", values(2, 6, 8).abs())))
    node, levels = only(program, target), infer(program)
    ours, stock = cost_of(node, levels), stock_cost_of(node, levels)
    assert 0 < ours.bytes_sent < stock.bytes_sent
    assert 0 < ours.rounds < stock.rounds


def shared(*shape):
    return Shared(torch.empty(shape, dtype=torch.int64, device="meta"), 16)


def weight(*shape):
    return StaticWeight("w", torch.empty(shape, dtype=torch.int64, device="meta"), 16)


def planned(function, *args, **ranges):
    """Return what a dry run of a protocol sends."""
    party = PlanningParty(16)
    activate(party)
    try:
        function(*args, **ranges)
    finally:
        activate(None)
    (row,) = party.plan().traffic
    return Cost(max(row.bytes_sent), row.rounds)


def ids(b):
    return b.input("x", torch.ones(2, 6, dtype=torch.int64))


X = (2, 6, 4)
EXACT = {
    "linear": (
        lambda: planned(mpc.linear, shared(*X), weight(3, 4)),
        lambda b: b.call(ops.linear, b.input("x", values(*X)), b.weight("w", 3, 4)),
    ),
    "matmul": (
        lambda: planned(mpc.matmul, shared(*X), shared(2, 4, 5)),
        lambda b: b.call(ops.matmul, b.input("x", values(*X)), b.input("y", values(2, 4, 5))),
    ),
    "mul": (
        lambda: planned(mpc.mul, shared(*X), shared(4)),
        lambda b: b.call(ops.mul, b.input("x", values(*X)), b.input("y", values(4))),
    ),
    "mul by a weight": (
        lambda: planned(mpc.mul, shared(*X), weight(4)),
        lambda b: b.call(ops.mul, b.input("x", values(*X)), b.weight("w", 4)),
    ),
    "square": (
        lambda: planned(mpc.square, shared(*X)),
        lambda b: b.call(ops.square, b.input("x", values(*X))),
    ),
    "mean": (
        lambda: planned(mpc.mean, shared(*X), (1,)),
        lambda b: b.call(ops.mean, b.input("x", values(*X)), (1,)),
    ),
    "embedding": (
        lambda: planned(
            mpc.embedding, ClientValue(torch.empty((2, 6), dtype=torch.int64, device="meta")), weight(9, 4)
        ),
        lambda b: b.call(ops.embedding, ids(b), b.weight("w", 9, 4)),
    ),
    "conv2d": (
        lambda: planned(mpc.conv2d, shared(1, 3, 8, 8), weight(4, 3, 2, 2)),
        lambda b: b.call(ops.conv2d, b.input("x", values(1, 3, 8, 8)), b.weight("w", 4, 3, 2, 2)),
    ),
    "embedding of nobody's ids": (
        lambda: planned(mpc.embedding, Shared(torch.empty((2, 6), dtype=torch.int64, device="meta"), 0), weight(9, 4)),
        lambda b: b.call(
            ops.embedding, b.call(ops.gather_rows, ids(b), 0, b.constant("at", torch.arange(2))), b.weight("w", 9, 4)
        ),
    ),
    "argmax": (
        lambda: planned(mpc.argmax, shared(*X[:-1], 11)),
        lambda b: b.call(ops.argmax, b.input("x", values(*X[:-1], 11))),
    ),
    "relu": (
        lambda: planned(mpc.relu, shared(*X)),
        lambda b: b.call(ops.relu, b.input("x", values(*X))),
    ),
}
ESTIMATED = {
    "layer_norm": (
        lambda: planned(mpc.layer_norm, shared(*X), weight(4), weight(4), variance=(0.1, 10.0)),
        lambda b: b.call(ops.layer_norm, b.input("x", values(*X)), b.weight("w", 4), b.weight("b", 4)),
    ),
    "rms_norm": (
        lambda: planned(mpc.rms_norm, shared(*X), None, variance=(0.1, 10.0)),
        lambda b: b.call(ops.rms_norm, b.input("x", values(*X))),
    ),
    "gelu": (
        lambda: planned(mpc.gelu, shared(*X), scope=(-4.0, 4.0), tolerance=1e-3),
        lambda b: b.call(ops.gelu, b.input("x", values(*X))),
    ),
    "quadratic": (
        lambda: planned(mpc.quadratic, shared(*X), 0.125, 0.25, 0.5, scope=(-4.0, 4.0), bound=64.0),
        lambda b: b.call(ops.quadratic, b.input("x", values(*X)), 0.125, 0.25, 0.5),
    ),
    "2quad": (
        lambda: planned(
            mpc.softmax, shared(*X), None, "2quad", scope=SoftmaxRange(-4, 4, ((10.0, 60.0),)), tolerance=1e-3
        ),
        lambda b: b.call(ops.softmax, b.input("x", values(*X)), None, "2quad"),
    ),
    "2relu": (
        lambda: planned(
            mpc.softmax, shared(*X), None, "2relu", scope=SoftmaxRange(-4, 4, ((2.0**-6, 10.0),)), tolerance=1e-3
        ),
        lambda b: b.call(ops.softmax, b.input("x", values(*X)), None, "2relu"),
    ),
    "softmax": (
        lambda: planned(mpc.softmax, shared(*X), scope=SoftmaxRange(-4, 4, ((0.1, 3.0),)), tolerance=1e-3),
        lambda b: b.call(ops.softmax, b.input("x", values(*X))),
    ),
}

RANGES = {
    "exp": SoftmaxRange(-4, 4, ((0.1, 3.0),)),
    "2quad": SoftmaxRange(-4, 4, ((10.0, 60.0),)),
    "2relu": SoftmaxRange(-4, 4, ((2.0**-6, 10.0),)),
}


@pytest.mark.parametrize("width", [3, 16])
@pytest.mark.parametrize("form", RANGES)
def test_attending_costs_about_what_a_dry_run_says(form, width):
    y = (2, 4, width)
    exact = planned(mpc.attend, shared(*X), shared(*y), None, form, scope=RANGES[form], tolerance=1e-3)
    estimate = closed_form(lambda b: b.call(ops.attend, b.input("x", values(*X)), b.input("y", values(*y)), None, form))
    assert estimate.bytes_sent == pytest.approx(exact.bytes_sent, rel=0.1)
    assert estimate.rounds == pytest.approx(exact.rounds, abs=2)


def test_values_that_were_opened_are_not_opened_again_to_be_weighed():
    def build(b):
        x, y = b.input("x", values(*X)), b.input("y", values(2, 4, 5))
        return [b.call(ops.square, y), b.call(ops.attend, x, y)]

    def alone(b):
        return [b.call(ops.attend, b.input("x", values(*X)), b.input("y", values(2, 4, 5)))]

    assert costs(alone)["attend"].bytes_sent - costs(build)["attend"].bytes_sent == 8 * 2 * 4 * 5


@pytest.mark.parametrize("form", ["exact", "2quad", "2relu"])
def test_a_small_bert_costs_about_what_its_dry_run_says(form):
    config = BertConfig(vocab_size=30, hidden_size=16, num_attention_heads=2, num_hidden_layers=2, intermediate_size=32)
    seen = []
    ids = torch.arange(12)[None]
    with tempfile.TemporaryDirectory() as folder:
        package = compiler.build(
            BertModel(config, add_pooling_layer=False).eval(),
            {"input_ids": ids},
            Path(folder),
            options=Options(softmax=form),
            observer=lambda program, _record: seen.append(program),
        )
    lines = {row.line for row in package.statements if row.op == "attend"}
    exact = sum(max(row.bytes_sent) for row in package.traffic if row.line in lines)
    levels = infer(seen[-1])
    attends = [cost_of(node, levels) for node in seen[-1].graph.nodes if node.target is ops.attend]
    assert len(attends) == 2
    assert sum(cost.bytes_sent for cost in attends) == pytest.approx(exact, rel=0.25)
    sent = sum(max(row.bytes_sent) for row in package.traffic)
    assert total_cost(seen[-1]).bytes_sent == pytest.approx(sent, rel=0.3)


def closed_form(build):
    b = Builder()
    return total_cost(b.program(build(b)))


@pytest.mark.parametrize("name", EXACT)
def test_our_products_cost_what_a_dry_run_says(name):
    run, build = EXACT[name]
    assert closed_form(build) == run()


@pytest.mark.parametrize("name", ESTIMATED)
def test_our_functions_cost_about_what_a_dry_run_says(name):
    run, build = ESTIMATED[name]
    exact, estimate = run(), closed_form(build)
    assert estimate.bytes_sent == pytest.approx(exact.bytes_sent, rel=0.3)
    assert estimate.rounds == pytest.approx(exact.rounds, abs=2)


def costs(build):
    b = Builder()
    program = b.program(*build(b))
    levels = infer(program)
    return {node.name: cost_of(node, levels) for node in program.graph.nodes if node.op == "call_function"}


def test_a_value_is_opened_once_for_all_its_readers():
    def build(b):
        x = b.input("x", values(2, 4))
        return [b.call(ops.linear, x, b.weight(f"w{i}", 3, 4)) for i in range(2)]

    assert list(costs(build).values()) == [Cost(8 * (8 + 6), 2), Cost(8 * 6, 1)]


def test_a_view_taken_after_the_opening_is_open():
    def build(b):
        x = b.input("x", values(2, 4))
        early = b.call(ops.reshape, x, (4, 2))
        first = b.call(ops.square, x)
        late = b.call(ops.reshape, x, (8,))
        return [first, b.call(ops.square, late), b.call(ops.square, early)]

    found = costs(build)
    assert found["square_1"] == Cost(8 * 8, 1)
    assert found["square_2"] == Cost(16 * 8, 2)


def test_a_public_factor_is_truncated_by_its_first_reader():
    def build(b):
        x = b.input("x", values(2, 4))
        turned = b.call(ops.add, b.call(ops.mul, x, 0.5), b.call(ops.mul, x, b.constant("c", values(4))))
        return [b.call(ops.square, turned), b.call(ops.gelu, turned)]

    found = costs(build)
    assert found["mul"] == found["mul_1"] == found["add"] == Cost()
    assert found["square"] == Cost(3 * 8 * 8, 3)
    assert found["gelu"] == Cost(8 * 8, 1)


def test_whole_factors_views_sums_and_public_calls_are_free():
    def build(b):
        x, p = b.input("x", values(2, 4)), b.input("p", values(2, 4), Secrecy.PUBLIC)
        y = b.call(ops.add, b.call(ops.mul, x, 2), b.call(torch.ops.aten.exp.default, p))
        return [
            b.call(ops.reshape, b.call(ops.neg, y), (8,)),
            b.call(ops.embedding, b.constant("i", torch.tensor([1])), x),
        ]

    assert set(costs(build).values()) == {Cost()}


def test_costs_add_up():
    assert Cost(1, 2) + Cost(3, 4) == Cost(4, 6)
    assert Cost(1, 2).times(3) == Cost(3, 6)
