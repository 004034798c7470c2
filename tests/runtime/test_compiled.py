"""The kernels in C compute what the torch operations do that stand in for them elsewhere."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from mpccompile.runtime import ring
from mpccompile.runtime.kernels import blocks as kernel_blocks
from mpccompile.runtime.kernels import compiled, falling, waves
from mpccompile.runtime.kernels.blocks import BLOCK, blocks
from mpccompile.runtime.kernels.falling import Window
from mpccompile.runtime.kernels.waves import Turn
from mpccompile.runtime.openings import truncate
from mpccompile.runtime.shared import Shared
from tests.runtime.pair import added, run_call

COUNTS = (0, 1, 7, 255, 256, 257, BLOCK - 1, BLOCK, 2 * BLOCK + 300)


def words(*shape):
    high, low = torch.randint(0, 2**32, (2, *shape))
    return (high << 32) | low


@pytest.fixture
def without(monkeypatch):
    """Return a function that calls another one as on a machine without the kernels."""

    def call(function, *args, **kwargs):
        with monkeypatch.context() as patch:
            patch.setattr(compiled, "serves", lambda _x: False)
            return function(*args, **kwargs)

    return call


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler, so the kernels are not built")
def test_the_kernels_are_built_where_there_is_a_compiler():
    assert compiled.library() is not None
    assert compiled.serves(torch.zeros(1))
    assert not compiled.serves(torch.zeros(1, device="meta"))


needs_kernels = pytest.mark.skipif(compiled.library() is None, reason="the kernels were not built")


@needs_kernels
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("bits", range(8, 65, 8))
def test_messages_are_the_same_bytes(count, bits, without):
    share, mask, theirs = words(count), words(count), words(count)
    for held, offset in ((mask, 1 << 61), (None, -5)):
        message = compiled.pack(share, held, offset, bits)
        total = share + offset + (0 if held is None else held)
        assert torch.equal(message, without(ring.pack, total, bits))
        other = without(ring.pack, theirs, bits)
        assert torch.equal(compiled.combine(message, other, bits, (count,)), ring.reduce(total + theirs, bits))
        assert torch.equal(
            compiled.combine(message, other, bits, (count,), xor=True), ring.reduce(total ^ theirs, bits)
        )
        assert torch.equal(compiled.combine(message, None, bits, (count,)), ring.reduce(total, bits))


@needs_kernels
@pytest.mark.parametrize(("bits", "drop"), [(64, 16), (64, 1), (48, 16), (48, 0), (64, 63), (40, 8)])
def test_quotients_are_the_same_words(bits, drop):
    opened, high, top = ring.reduce(words(1000), bits), words(1000), words(1000)
    offset, keep = 1 << (bits - 3), bits - drop
    for rank in (0, 1):
        public, share = compiled.quotient(opened, high, top, bits, drop, offset >> drop, rank)
        expected = ring.logical_shift_right(opened, drop) - (offset >> drop)
        carry = ((1 - (ring.logical_shift_right(opened, bits - 1) & 1)) * top) << keep
        assert torch.equal(public, expected)
        assert torch.equal(share, carry - high + (expected if rank == 0 else 0))


def test_a_truncation_is_right_with_and_without_the_kernels(without):
    value = words(500) >> 4
    value[:4] = torch.tensor([(1 << 61) - 1, -(1 << 61), 0, -1])
    mask = words(500)
    pair = Shared(value - mask, 32), Shared(mask, 32)
    for run in (run_call, lambda *args: without(run_call, *args)):
        found = added(run(lambda x: truncate(x, 16), pair).results)
        gap = found - (value >> 16)
        assert set(gap.tolist()) <= {0, 1}


@pytest.mark.parametrize("rows", [1, 2, 7])
@pytest.mark.parametrize("count", COUNTS)
def test_blocks_hold_every_element_once(rows, count):
    table = torch.zeros(rows, count, dtype=torch.int64)
    for part, piece in blocks(table, rows):
        piece.add_(torch.arange(part.start, part.stop) + 1)
    for row in range(rows):
        found = torch.cat([piece[row] for _, piece in blocks(table, rows)] or [torch.zeros(0, dtype=torch.int64)])
        assert torch.equal(found, torch.arange(count) + 1)


@needs_kernels
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize(
    ("period_bits", "harmonics", "scale_bits"), [(20, 3, 16), (25, 16, 24), (1, 2, 24), (45, 1, 24)]
)
def test_waves_are_the_same_to_a_unit(count, period_bits, harmonics, scale_bits, without):
    masks, share = words(count), words(2 * harmonics, count)
    one, other = share.clone(), share.clone()
    waves.other_share(masks, one, period_bits, harmonics, scale_bits)
    without(waves.other_share, masks, other, period_bits, harmonics, scale_bits)
    assert count == 0 or (one - other).abs().max() <= 1
    angle = (masks & ((1 << period_bits) - 1)).double() * (2 * torch.pi / (1 << period_bits))
    for part, rows in blocks(one + share, 2 * harmonics):
        for k in range(harmonics):
            exact = torch.cos((k + 1) * angle[part]) * 2.0**scale_bits
            assert (rows[k].double() - exact).abs().max() <= 0.51


@pytest.mark.parametrize("count", [5, BLOCK, 3 * BLOCK + 17])
def test_all_blocks_at_once_give_the_same(count, without, monkeypatch):
    masks, opened, coins = words(count), words(count), words(count)
    turn = Turn(-12345, 20, (3000.5, -211.25, 7.0), (0.0, 1e5, -3.5), 5, 77)
    window = Window(-98765, 48, 16, 4)

    def everything():
        table, factorials = torch.arange(6 * count).view(6, count), torch.arange(4 * count, dtype=torch.int32)
        waves.other_share(masks, table, 20, 3, 16)
        falling.other_share(masks, factorials, 48, 16, 4)
        series = waves.turn_back(opened, table, turn, masks)
        return table, factorials, series, falling.range_words(opened, factorials, window, coins, coins > 0, 1)

    one_by_one = without(everything)
    monkeypatch.setattr(kernel_blocks, "at_once", lambda _device: True)
    for found, expected in zip(without(everything), one_by_one, strict=True):
        assert torch.equal(found, expected)


@needs_kernels
def test_waves_are_exact_at_the_quarters_of_the_circle():
    masks = torch.arange(8) << 17
    found = torch.zeros(2, 8, dtype=torch.int64)
    waves.other_share(masks, found, 20, 1, 30)
    half = round(0.5**0.5 * (1 << 30))
    whole = 1 << 30
    assert found[0].tolist() == [whole, half, 0, -half, -whole, -half, 0, half]
    assert found[1].tolist() == [0, half, whole, half, 0, -half, -whole, -half]


@needs_kernels
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("with_slope", [False, True])
def test_a_series_is_the_same_to_a_unit_of_each_factor(count, with_slope, without):
    # Shares of one, so that the result is the sum of the factors.
    turn = Turn(-12345, 20, (3000.5, -211.25, 7.0), (0.0, 1e5, -3.5), 5 if with_slope else 0, 77)
    opened, x = words(count), words(count) if with_slope else None
    table = torch.ones(6, count, dtype=torch.int64)
    one = waves.turn_back(opened, table, turn, x)
    other = without(waves.turn_back, opened, table, turn, x)
    assert count == 0 or (one - other).abs().max() <= 6


@needs_kernels
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize(("bits", "drop", "degree"), [(48, 16, 11), (48, 20, 2), (64, 60, 1), (40, 8, 5)])
def test_falling_factorials_and_range_words_are_the_same(count, bits, drop, degree, without):
    masks, share = words(count), torch.randint(-(2**31), 2**31, (degree, count), dtype=torch.int32)
    one, other = share.clone(), share.clone()
    falling.other_share(masks, one, bits, drop, degree)
    without(falling.other_share, masks, other, bits, drop, degree)
    assert torch.equal(one, other)
    window = Window(-98765, bits, drop, degree)
    opened, coins, only = words(count), words(count), torch.rand(count) < 0.7
    for rank in (0, 1):
        for kept in (None, only):
            found = falling.range_words(opened, one, window, coins, kept, rank)
            assert torch.equal(found, without(falling.range_words, opened, one, window, coins, kept, rank))


def test_range_words_agree_in_range_only(without):
    window = Window(-(3 << 16), 48, 16, 7)
    x = torch.arange(-(3 << 16), 3 << 16, 997)
    masks = ring.reduce(words(*x.shape), 48)
    opened, coins, share = ring.reduce(x + masks, 48), words(*x.shape), torch.zeros(7, x.numel(), dtype=torch.int32)
    other = share.clone()
    falling.other_share(masks, other, 48, 16, 7)
    opened_wrong = opened.clone()
    opened_wrong[5] += 9 << 16
    for run in (lambda function, *args: function(*args), without):
        same = [
            run(falling.range_words, opened, table, window, coins, None, rank)
            for rank, table in ((0, share), (1, other))
        ]
        assert torch.equal(*same)
        differ = [
            run(falling.range_words, opened_wrong, table, window, coins, None, rank)
            for rank, table in ((0, share), (1, other))
        ]
        assert (differ[0] != differ[1]).all()


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_a_library_without_the_tile_unit_serves_all_the_same(tmp_path):
    sources = sorted(map(str, Path(compiled.__file__).with_name("native").glob("*.c")))
    target = tmp_path / "kernels.so"
    command = ["cc", "-shared", "-fPIC", "-D__clang__", "-std=gnu11", *sources, "-o", str(target)]
    subprocess.run(command, check=True, capture_output=True)
    library = compiled.bound(str(target))
    assert library.mpc_amx_available() == 0
    one, message = words(9), torch.empty(72, dtype=torch.uint8)
    library.mpc_pack(one.data_ptr(), None, 0, 9, 8, message.data_ptr())
    assert torch.equal(message, ring.pack(one, 64))
