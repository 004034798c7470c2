from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mpccompile.errors import InputError
from mpccompile.runtime import ring
from mpccompile.runtime.kernels import choose, float64, limbs, tiles
from mpccompile.runtime.kernels.digits import chunked

METHODS = ("limbs", "float64", "int64", *(["tiles"] if tiles.available() else []))
LOWEST, HIGHEST = -(2**63), 2**63 - 1
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def extremes(shape, bits=64, seed=0):
    """Random signed values of `bits` bits, every third one of them an extreme."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(LOWEST, HIGHEST, shape, generator=generator)
    values = (words >> (64 - bits)).reshape(-1)
    values[::5] = -(1 << (bits - 1))
    values[1::7] = (1 << (bits - 1)) - 1
    values[2::11] = -1
    return values.view(shape)


def python_product(a, b):
    """The product in unbounded Python integers."""
    return np.matmul(a.numpy().astype(object), b.numpy().astype(object))


def agree(found, expected, bits=64):
    """Whether a tensor equals Python integers modulo 2^bits."""
    modulus = 1 << bits
    return found.shape == expected.shape and all(
        int(x) % modulus == int(y) % modulus
        for x, y in zip(found.reshape(-1).tolist(), expected.reshape(-1), strict=True)
    )


SHAPES = [
    ((5, 7), (7, 3)),
    ((1, 16), (16, 9)),  # a single row
    ((9, 1), (1, 1)),
    ((20, 12), (12, 1)),
    ((33, 24), (24, 17)),
    ((3, 9, 10), (10, 4)),  # one matrix for a batch of rows
    ((3, 9, 10), (3, 10, 4)),
    ((2, 1, 9, 6), (3, 6, 5)),  # both broadcast
    ((2, 3, 1, 6), (3, 6, 5)),
    ((4, 6), (2, 6, 5)),
]
BITS = [(None, None), (None, 16), (16, None), (8, 24), (17, 15), (40, 33), (3, 2), (None, 1), (22, 44), (64, 64)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_products_are_those_of_python_integers(method, left, right):
    for a_bits, b_bits in BITS:
        a, b = extremes(left, a_bits or 64), extremes(right, b_bits or 64, seed=1)
        expected = python_product(a, b)
        for bits in (8, 20, 32, 40, 48, 64):
            known = {"ring_bits": bits, "a_known_bits": a_bits}
            raw = ring.matmul(a, b, b_known_bits=b_bits, method=method, **known)
            prepared = ring.matmul(a, ring.prepare(b, b_bits, bits, method=method), **known)
            assert agree(raw, expected, bits), (a_bits, b_bits, bits)
            assert agree(prepared, expected, bits), (a_bits, b_bits, bits)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [-1, LOWEST, HIGHEST, -0x7F7F7F7F7F7F7F80, 0x7F7F7F7F7F7F7F7F])
@pytest.mark.parametrize("rows", [1, 20])
def test_constant_matrices_with_long_inner_dimensions_are_exact(method, value, rows):
    for inner in (2049, 16384):
        a = torch.full((rows, inner), value)
        found = ring.matmul(a, a.t(), method=method)
        assert set(found.reshape(-1).tolist()) == {(inner * value * value + 2**63) % 2**64 - 2**63}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rows", [2, 12])
def test_the_inner_dimension_is_cut_before_a_sum_overflows(method, rows):
    # Eight digits of -128, whose products are the largest there are.
    value = 0x7F7F7F7F7F7F7F80
    a = torch.full((rows, 70000), value)
    found = ring.matmul(a, a.t(), method=method)
    assert set(found.reshape(-1).tolist()) == {(70000 * value * value + 2**63) % 2**64 - 2**63}
    low = torch.full((rows, 140000), -128)
    found = ring.matmul(low, low.t(), a_known_bits=8, b_known_bits=8, method=method)
    assert set(found.reshape(-1).tolist()) == {140000 << 14}


@pytest.mark.parametrize("method", METHODS)
def test_random_products_of_model_size_agree_with_torch(method):
    a, b = extremes((2, 70, 300)), extremes((300, 400), seed=3)
    assert torch.equal(ring.matmul(a, b, method=method), torch.matmul(a, b))


@pytest.mark.parametrize("shape", [(600, 8, 700), (40, 8, 3000)])
def test_results_larger_than_a_tile_are_put_together(shape):
    rows, inner, columns = shape
    a, b = extremes((rows, inner)), extremes((inner, columns), seed=4)
    assert torch.equal(ring.matmul(a, b, method="limbs"), torch.matmul(a, b))


def test_many_small_products_share_a_tile():
    a, b = extremes((70, 33, 8)), extremes((70, 8, 40), seed=5)
    assert torch.equal(ring.matmul(a, b, method="limbs"), torch.matmul(a, b))


@pytest.mark.parametrize("method", METHODS)
def test_strided_operands_are_read_as_they_are(method):
    a = extremes((24, 40)).t()[::2]
    b = extremes((30, 48))[::3].t()[::2, 1:]
    assert not a.is_contiguous()
    assert torch.equal(ring.matmul(a, b, method=method), torch.matmul(a.contiguous(), b.contiguous()))
    row = extremes((24, 40)).t()[:1]
    assert torch.equal(ring.matmul(row, b, method=method), torch.matmul(row.contiguous(), b.contiguous()))


@pytest.mark.parametrize("method", [*METHODS, None])
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((0, 3), (3, 2)),
        ((2, 0), (0, 3)),
        ((2, 3), (3, 0)),
        ((0, 2, 3), (0, 3, 4)),
        ((0, 2, 3), (3, 4)),
        ((2, 0, 0), (0, 0)),
    ],
)
def test_empty_products_have_the_right_shape(method, left, right):
    a, b = torch.ones(left, dtype=torch.int64), torch.ones(right, dtype=torch.int64)
    expected = torch.matmul(a, b)
    assert torch.equal(ring.matmul(a, b, method=method), expected)
    assert torch.equal(ring.matmul(a, ring.prepare(b, method=method)), expected)


def test_a_prepared_operand_serves_every_number_of_rows_and_is_left_alone():
    b = extremes((40, 30), 16)
    operand = ring.prepare(b, 16)
    parts = operand.parts.clone()
    for rows in (1, 2, 8, 9, 64):
        a = extremes((rows, 40), seed=rows)
        kept = a.clone()
        assert torch.equal(ring.matmul(a, operand), torch.matmul(a, b))
        assert torch.equal(a, kept)
    assert torch.equal(operand.parts, parts)
    assert operand.device == b.device
    assert operand.shape == b.shape


def test_sixteen_known_bits_take_two_digits_and_seventeen_three():
    b = extremes((4, 3), 16)
    assert ring.prepare(b, 16, method="limbs").parts.shape == (3, 1, 2, 4)
    assert ring.prepare(b, 17, method="limbs").parts.shape == (3, 1, 3, 4)
    assert ring.prepare(b, method="limbs").parts.shape == (3, 1, 8, 4)
    assert ring.prepare(b, None, 48, method="limbs").parts.shape == (3, 1, 6, 4)


def test_a_batched_operand_is_prepared_once_too():
    a, b = extremes((3, 12, 10)), extremes((3, 10, 4), seed=7)
    for method in METHODS:
        assert torch.equal(ring.matmul(a, ring.prepare(b, method=method)), torch.matmul(a, b))


def test_a_known_left_operand_meets_a_prepared_right_one():
    a, b = extremes((12, 10), 16), extremes((10, 4), 16, seed=7)
    for method in METHODS:
        found = ring.matmul(a, ring.prepare(b, 16, method=method), a_known_bits=16)
        assert torch.equal(found, torch.matmul(a, b))


def test_an_operand_of_a_smaller_ring_is_refused_unless_its_values_are_known():
    a, b = extremes((2, 3)), extremes((3, 2), 16)
    with pytest.raises(InputError, match="prepared modulo 2\\^48"):
        ring.matmul(a, ring.prepare(b, None, 48))
    with pytest.raises(InputError, match="values of 16 bits"):
        ring.matmul(a, ring.prepare(b, 16), b_known_bits=17)
    assert torch.equal(ring.matmul(a, ring.prepare(b, 16, 48)), torch.matmul(a, b))
    # The known bits fill this ring, but not the ring that the digits were made for.
    narrow = extremes((3, 2), 40, seed=2)
    found = ring.matmul(a, ring.prepare(narrow, 40, 48, method="limbs"), ring_bits=40)
    assert agree(found, python_product(a, narrow), 40)


@pytest.mark.parametrize(
    ("a", "b", "options"),
    [
        (torch.zeros(2, 3), torch.zeros(3, 2, dtype=torch.int64), {}),
        (torch.zeros(3, dtype=torch.int64), torch.zeros(3, 2, dtype=torch.int64), {}),
        (torch.zeros(2, 4, dtype=torch.int64), torch.zeros(3, 2, dtype=torch.int64), {}),
        (torch.zeros(2, 2, 3, dtype=torch.int64), torch.zeros(3, 3, 2, dtype=torch.int64), {}),
        (torch.zeros(2, 3, dtype=torch.int64), torch.zeros(3, 2, dtype=torch.int64), {"ring_bits": 65}),
        (torch.zeros(2, 3, dtype=torch.int64), torch.zeros(3, 2, dtype=torch.int64), {"a_known_bits": 0}),
        (torch.zeros(2, 3, dtype=torch.int64), torch.zeros(3, 2, dtype=torch.int64), {"b_known_bits": 99}),
    ],
)
def test_products_that_mean_nothing_are_refused(a, b, options):
    with pytest.raises(InputError):
        ring.matmul(a, b, **options)


def test_meta_tensors_give_shapes_alone():
    a = torch.empty(2, 5, 3, dtype=torch.int64, device="meta")
    b = torch.empty(3, 4, dtype=torch.int64, device="meta")
    for right in (b, ring.prepare(b, 16), ring.prepare(b, method="limbs")):
        found = ring.matmul(a, right)
        assert found.is_meta
        assert found.shape == (2, 5, 4)
    assert ring.encode(torch.empty(3, device="meta"), 16).dtype == torch.int64
    assert ring.pack(torch.empty(3, dtype=torch.int64, device="meta"), 20).shape == (8,)


def test_the_fastest_method_by_the_rates_is_chosen(monkeypatch):
    problem = choose.Problem(1, 128, 768, 768, 64, 64, 64, prepared=True)
    for threads, name in enumerate(METHODS, start=101):
        rates = dict.fromkeys(("tiles", *METHODS), 1e-9) | {name: 1e-14}
        monkeypatch.setattr(choose, "measured", lambda *_, rates=rates: choose.Rates(split=1e-9, **rates))
        assert choose._chosen(problem, CPU, threads) == name


def test_a_method_that_is_missing_or_saturates_is_never_chosen(monkeypatch):
    def saturating(left, right, result):
        result.copy_((left.to(torch.float64) @ right.to(torch.float64).t()).clamp(-32768, 32767))

    def missing(left, right, result):
        raise RuntimeError("no int8 products here")

    assert limbs.is_exact(CPU)
    for kernel in (saturating, missing):
        monkeypatch.setattr(limbs, "int8_product", kernel)
        assert not limbs.is_exact.__wrapped__(CPU)
        monkeypatch.setattr(limbs, "is_exact", limbs.is_exact.__wrapped__)
        rates = choose.measured.__wrapped__(CPU, 1)
        assert rates.limbs == math.inf
        for rows in (1, 128):
            problem = choose.Problem(1, rows, 768, 768, 64, 16, 64, prepared=True)
            assert choose._limbs_seconds(problem, rates) == math.inf
        monkeypatch.undo()


def test_tiles_are_never_chosen_where_there_are_none(monkeypatch):
    monkeypatch.setattr(tiles, "available", lambda: False)
    rates = choose.measured.__wrapped__(CPU, 1)
    assert rates.tiles == math.inf
    assert choose._tiles_seconds(choose.Problem(1, 128, 768, 768, 64, 16, 64), rates) == math.inf


def test_predictions_are_positive_for_every_method():
    rates = choose.Rates(tiles=1e-12, limbs=1e-12, float64=2e-11, int64=1e-10, split=4e-9)
    for rows in (1, 8, 9, 128):
        for prepared in (False, True):
            problem = choose.Problem(12, rows, 64, 128, 64, 16, 48, prepared=prepared)
            seconds = (choose._tiles_seconds, choose._limbs_seconds, choose._float64_seconds, choose._int64_seconds)
            assert all(0 < predict(problem, rates) < 1 for predict in seconds)


def test_digits_put_together_are_the_value():
    x = extremes((6, 9))
    whole = limbs.split(x, limbs.split_of(9, 8, CPU), reverse=False).to(torch.int64)
    assert torch.equal(sum(whole[:, 0, i] << (8 * i) for i in range(8)), x)
    backwards = limbs.split(x, limbs.split_of(9, 8, CPU), reverse=True)
    assert torch.equal(backwards.flip(-2).to(torch.int64), whole)
    wide = float64.split(x, float64.split_of(9, 3, 64), 64, reverse=False)
    assert wide.abs().max() <= 2**21
    assert torch.equal(sum(wide[:, 0, i].to(torch.int64) << (22 * i) for i in range(3)), x)


def test_pieces_cover_the_inner_dimension():
    assert chunked(768, 16256, 1) == (1, 768)
    assert chunked(16384, 16256, 1) == (2, 8192)
    assert chunked(1001, 500, 16) == (3, 336)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("method", ["limbs", "float64", None])
def test_products_on_a_gpu_are_exact(method):
    for left, right in [
        ((1, 16), (16, 9)),
        ((33, 70), (70, 17)),
        ((3, 40, 64), (3, 64, 40)),
        ((20, 17000), (17000, 3)),
    ]:
        a, b = extremes(left), extremes(right, 16)
        found = ring.matmul(a.cuda(), b.cuda(), b_known_bits=16, method=method)
        assert torch.equal(found.cpu(), torch.matmul(a, b))


def test_fixed_point_rounds_to_nearest():
    x = torch.tensor([0.0, 1.0, -1.0, 0.5 / 65536, 1.5 / 65536, -0.6 / 65536, 3.14159])
    assert ring.encode(x, 16).tolist() == [0, 65536, -65536, 0, 2, -1, 205887]
    assert ring.encode(torch.tensor([[True, False]]), 4).tolist() == [[16, 0]]
    back = ring.decode(ring.encode(x, 16), 16)
    assert back.dtype == torch.float32
    assert (back - x).abs().max() <= 2.0**-17
    assert ring.encode(torch.tensor([-(2.0**46)]), 16).tolist() == [-(2**62)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2.0**47, -(2.0**47)])
def test_what_fixed_point_cannot_hold_is_refused_with_the_limit(value):
    with pytest.raises(InputError, match="below 2\\^47"):
        ring.encode(torch.tensor([0.0, value], dtype=torch.float64), 16)


def test_reduction_extension_and_shifts_are_those_of_python_integers():
    x = extremes((100,))
    for bits in range(1, 65):
        modulus = 1 << bits
        reduced, extended = ring.reduce(x, bits).tolist(), ring.sign_extend(x, bits).tolist()
        shifted = ring.logical_shift_right(x, bits - 1).tolist()
        for value, low, signed, high in zip(x.tolist(), reduced, extended, shifted, strict=True):
            assert low % 2**64 == value % modulus
            assert signed == (value + modulus // 2) % modulus - modulus // 2
            assert high % 2**64 == (value % 2**64) >> (bits - 1)
    assert ring.reduce(x, 64) is x
    assert ring.msb(torch.tensor([0, -1, LOWEST, HIGHEST])).tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("bits", range(1, 65))
def test_packed_messages_have_exactly_their_bits_and_come_back(bits):
    for count in (0, 1, 2, 3, 7, 8, 65, 130):
        x = extremes((count,), seed=bits)
        packed = ring.pack(x, bits)
        stream = sum((value % (1 << bits)) << (bits * i) for i, value in enumerate(x.tolist()))
        assert packed.dtype == torch.uint8
        assert bytes(packed.tolist()) == stream.to_bytes(-(-count * bits // 8), "little")
        assert packed.numel() == ring.packed_bytes(count, bits)
        assert torch.equal(ring.unpack(packed, bits, (count,)), ring.reduce(x, bits))


def test_messages_are_unpacked_at_any_alignment_and_in_any_shape():
    x = extremes((3, 5, 7))
    for bits in (1, 20, 40, 63, 64):
        packed = ring.pack(x.transpose(0, 2), bits)
        shifted = torch.cat([torch.zeros(3, dtype=torch.uint8), packed])[3:]
        found = ring.unpack(shifted, bits, (7, 5, 3))
        assert torch.equal(found, ring.reduce(x.transpose(0, 2), bits))
        found += 1  # a new tensor: the message stays as it was
        assert torch.equal(shifted, packed)


def test_messages_of_the_wrong_length_or_width_are_refused():
    with pytest.raises(InputError, match="7 bytes are not the 8"):
        ring.unpack(torch.zeros(7, dtype=torch.uint8), 20, (3,))
    for bits in (0, 65):
        with pytest.raises(InputError, match="between 1 and 64"):
            ring.pack(torch.zeros(3, dtype=torch.int64), bits)
        with pytest.raises(InputError, match="between 1 and 64"):
            ring.unpack(torch.zeros(0, dtype=torch.uint8), bits, (0,))
