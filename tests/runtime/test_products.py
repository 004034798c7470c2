"""Products are exact in the ring, rearrangements keep their wires, and no operand is opened twice."""

from __future__ import annotations

import pytest
import torch

from mpccompile.runtime import ring
from mpccompile.runtime.openings import masked, shared_view, truncate
from mpccompile.runtime.party import together
from mpccompile.runtime.products import (
    apply_static,
    known_bits_of,
    open_one_hot,
    product,
    square,
    static_product,
    sum_of_squares,
)
from mpccompile.runtime.shared import ClientValue, StaticWeight
from mpccompile.runtime.views import VIEWS
from tests.runtime.pair import added, random_words, run_call, share, wire_values

WORD_BYTES = 8
EXTREMES = torch.tensor([0, 1, -1, 2, -2, 2**31, -(2**31), 2**32 + 1, 2**62, -(2**62), 2**63 - 1, -(2**63)])
"""Ring elements; products of int64 tensors wrap around as the ring's do, so torch itself is the reference."""

ELEMENTWISE_SHAPES = [
    ((4, 3), (4, 3)),
    ((4, 3), (3,)),
    ((4, 1), (1, 3)),
    ((2, 1, 3), (4, 1)),
    ((), (5,)),
    ((0, 3), (3,)),
]
MATRIX_SHAPES = [
    ((4, 6), (6, 3)),
    ((1, 6), (6, 1)),
    ((5, 4, 6), (6, 3)),
    ((5, 4, 6), (5, 6, 3)),
    ((2, 1, 4, 6), (3, 6, 3)),
    ((4, 1), (1, 3)),
    ((2, 3, 0), (0, 4)),
    ((1, 70), (70, 33)),
]


def weight_of(plain: torch.Tensor, frac_bits: int = 16) -> StaticWeight:
    return StaticWeight("layer.weight", plain, frac_bits)


@pytest.mark.parametrize(("left", "right"), ELEMENTWISE_SHAPES)
def test_elementwise_products_are_exact(left, right):
    x, y = random_words(left), random_words(right)
    outcome = run_call(lambda a, b: product(a, b, "mul"), share(x, 16), share(y, 12))
    assert outcome.results[0].frac_bits == 28
    assert torch.equal(added(outcome.results), x * y)


@pytest.mark.parametrize(("left", "right"), MATRIX_SHAPES)
def test_matrix_products_are_exact(left, right):
    x, y = random_words(left), random_words(right)
    outcome = run_call(lambda a, b: product(a, b, "matmul"), share(x), share(y))
    assert torch.equal(added(outcome.results), torch.matmul(x, y))


def test_products_of_extremes_are_exact():
    x, y = EXTREMES[:, None], EXTREMES[None]
    outcome = run_call(lambda a, b: product(a, b, "mul"), share(x), share(y))
    assert torch.equal(added(outcome.results), x * y)
    outcome = run_call(square, share(EXTREMES))
    assert torch.equal(added(outcome.results), EXTREMES * EXTREMES)
    rows = EXTREMES.repeat(3, 1)
    outcome = run_call(sum_of_squares, share(rows))
    assert torch.equal(added(outcome.results), (rows * rows).sum(-1, keepdim=True))


@pytest.mark.parametrize("shape", [(5,), (2, 3, 7), (4, 1), (2, 768)])
def test_squares_and_their_sums_are_exact(shape):
    x = random_words(shape)
    outcome = run_call(square, share(x))
    assert torch.equal(added(outcome.results), x * x)
    outcome = run_call(sum_of_squares, share(x))
    assert torch.equal(added(outcome.results), (x * x).sum(-1, keepdim=True))
    assert outcome.results[0].frac_bits == 32
    # One opening of the argument, and one correction a row.
    assert outcome.channels[0].bytes_sent == WORD_BYTES * x.numel()
    assert outcome.plan.offline_bytes == WORD_BYTES * x[..., :1].numel()


@pytest.mark.parametrize(
    ("left", "shape"),
    [((4, 6), (3, 6)), ((2, 5, 6), (3, 6)), ((6,), (3, 6)), ((2, 12), (5, 3, 2, 2)), ((1, 1), (1, 1))],
)
def test_a_linear_static_product_is_exact(left, shape):
    x, w = random_words(left), random_words(shape)
    outcome = run_call(lambda a, b: static_product(a, b, "linear"), share(x), weight_of(w))
    assert torch.equal(added(outcome.results), torch.matmul(x, w.flatten(1).T))
    assert outcome.channels[0].bytes_sent == outcome.channels[1].bytes_sent == WORD_BYTES * x.numel()


def test_a_static_product_by_rows_is_exact():
    x, w = random_words((2, 4, 6)), random_words((6, 3))
    outcome = run_call(lambda a, b: static_product(a, b, "rows"), share(x), weight_of(w))
    assert torch.equal(added(outcome.results), torch.matmul(x, w))


@pytest.mark.parametrize(("left", "right"), [*ELEMENTWISE_SHAPES[:-1], ((3,), (2, 3))])
def test_an_elementwise_static_product_is_exact(left, right):
    x, w = random_words(left), random_words(right)
    outcome = run_call(lambda a, b: static_product(a, b, "mul"), share(x), weight_of(w))
    assert torch.equal(added(outcome.results), x * w)


@pytest.mark.parametrize("magnitude", [1, 127, 128, 2**15 - 1, 2**15, 2**31, 2**63 - 1])
def test_a_static_product_is_exact_whatever_the_width_of_the_weight(magnitude):
    w = torch.randint(-magnitude, magnitude, (40, 70)) if magnitude > 1 else torch.zeros(40, 70, dtype=torch.int64)
    w[0, 0], w[-1, -1] = magnitude, -magnitude - 1
    x = random_words((9, 70))
    outcome = run_call(lambda a, b: static_product(a, b, "linear"), share(x), weight_of(w))
    assert torch.equal(added(outcome.results), torch.matmul(x, w.T))


@pytest.mark.parametrize(
    ("values", "bits"), [([0], 1), ([-1, 0], 1), ([1], 2), ([-2, 1], 2), ([127, -128], 8), ([128], 9), ([-(2**63)], 64)]
)
def test_the_known_width_of_a_weight_is_that_of_its_widest_value(values, bits):
    assert known_bits_of(torch.tensor(values)) == bits


def test_the_width_of_shapes_alone_is_unknown():
    assert known_bits_of(torch.empty(3, dtype=torch.int64, device="meta")) is None
    assert known_bits_of(torch.empty(0, dtype=torch.int64)) is None


def test_integers_of_the_client_multiply_a_static_weight():
    x, w = torch.randint(-5, 5, (4, 6)), random_words((6, 3))
    outcome = run_call(lambda a, b: static_product(a, b, "rows"), ClientValue(x), weight_of(w))
    assert outcome.results[0].frac_bits == 16
    assert torch.equal(added(outcome.results), torch.matmul(x, w))
    # Only the client sends.
    assert [channel.bytes_sent for channel in outcome.channels] == [0, WORD_BYTES * x.numel()]


@pytest.mark.parametrize("bits", [24, 32, 36, 64])
def test_a_one_hot_lookup_is_exact_modulo_its_ring(bits):
    classes = 11
    ids = torch.tensor([[0, 10, 3, 3], [7, 9, 1, 10]])
    limit = 1 << (bits - 4)
    w = torch.randint(-limit, limit, (classes, 5))
    w[0], w[10] = limit, -limit

    def program(words, table):
        wire = yield from open_one_hot(words, classes, bits)
        return apply_static(wire, table, "rows")

    outcome = run_call(program, ClientValue(ids), weight_of(w))
    assert torch.equal(ring.reduce(added(outcome.results), bits), ring.reduce(w[ids], bits))
    assert [channel.bytes_sent for channel in outcome.channels] == [0, ids.numel() * classes * bits // 8]


REARRANGEMENTS = {
    "reshape": ((6, 10),),
    "permute": ((2, 0, 1),),
    "expand": ((7, 3, 4, 5),),
    "take": (1, 1, 4, 2),
    "gather_rows": (2, (4, 0, 0, 2)),
    "windows": ((2, 2), (1, 2), (1, 1), (1, 1)),
}


def test_every_rearrangement_is_tested():
    assert set(REARRANGEMENTS) == set(VIEWS)


@pytest.mark.parametrize("name", REARRANGEMENTS)
@pytest.mark.parametrize("bits", [64, 48])
def test_a_rearrangement_keeps_the_wire_and_sends_nothing(name, bits):
    params = REARRANGEMENTS[name]
    x = random_words((2, 3, 4, 5) if name == "windows" else (3, 4, 5))

    def program(a):
        yield from masked(a, bits)
        return shared_view(a, name, *params)

    outcome = run_call(program, share(x))
    assert torch.equal(added(outcome.results), VIEWS[name](x, *params))
    assert torch.equal(wire_values(outcome.results), ring.reduce(added(outcome.results), bits))
    assert outcome.channels[0].bytes_sent == x.numel() * bits // 8


def test_rearrangements_of_a_truncated_value_chain():
    x = random_words((4, 6)) >> 3

    def program(a):
        small = yield from truncate(a, 16)
        turned = shared_view(small, "permute", (1, 0))
        flat = shared_view(turned, "reshape", (3, 8))
        return shared_view(flat, "take", 1, 1, 8, 3)

    outcome = run_call(program, share(x, 32))
    result = added(outcome.results)
    exact = (x >> 16).T.reshape(3, 8)[:, 1:8:3]
    assert ((result - exact == 0) | (result - exact == 1)).all()
    assert torch.equal(wire_values(outcome.results), ring.reduce(result, 48))


def test_an_operand_of_several_products_is_opened_once():
    x, y, z, w = (random_words((4, 4)) for _ in range(4))

    def program(a, b, c, weight):
        first = yield from product(a, b, "matmul")
        second = yield from product(a, c, "mul")
        third = yield from square(a)
        fourth = yield from static_product(a, weight, "linear")
        turned = yield from product(shared_view(a, "permute", (1, 0)), b, "matmul")
        return [first, second, third, fourth, turned]

    outcome = run_call(program, share(x), share(y), share(z), weight_of(w))
    wanted = [x @ y, x * z, x * x, x @ w.T, x.T @ y]
    for index, value in enumerate(wanted):
        assert torch.equal(added([outcome.results[0][index], outcome.results[1][index]]), value)
    # Three operands, once each; the static weight is never opened.
    assert outcome.channels[0].bytes_sent == 3 * WORD_BYTES * x.numel()
    assert len(outcome.parties[0].openings) == 3
    assert len(outcome.channels[0].sent) == 2


def test_both_operands_of_a_product_are_opened_in_one_round():
    outcome = run_call(lambda a, b: product(a, b, "mul"), share(random_words((3,))), share(random_words((3,))))
    assert len(outcome.channels[0].sent) == 1


def test_products_side_by_side_share_a_round_and_their_common_operand():
    x, y, z = (random_words((3, 3)) for _ in range(3))

    def program(a, b, c):
        yield from masked(a, 64)
        return (yield from together(product(a, b, "matmul"), product(a, c, "mul"), square(a)))

    outcome = run_call(program, share(x), share(y), share(z))
    for index, value in enumerate([x @ y, x * z, x * x]):
        assert torch.equal(added([outcome.results[0][index], outcome.results[1][index]]), value)
    assert outcome.channels[0].bytes_sent == 3 * WORD_BYTES * x.numel()
    assert len(outcome.channels[0].sent) == 2


def test_protocols_of_different_length_run_side_by_side():
    x = random_words((5,)) >> 20

    def nothing():
        return 7
        yield ()

    def program(a):
        return (yield from together(nothing(), square(a), truncate(a, 8)))

    outcome = run_call(program, share(x, 16))
    assert [result[0] for result in outcome.results] == [7, 7]
    assert torch.equal(added([result[1] for result in outcome.results]), x * x)
    off = added([result[2] for result in outcome.results]) - (x >> 8)
    assert ((off == 0) | (off == 1)).all()
