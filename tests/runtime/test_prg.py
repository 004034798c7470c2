from __future__ import annotations

import pytest
import torch
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from mpccompile.errors import DealerError, InputError
from mpccompile.runtime.prg import Prg

SEED = bytes(range(32))


def chi_square(values, cells):
    """The chi-square statistic of `values` in 0..cells-1 against equal frequencies."""
    counts = torch.bincount(values.reshape(-1), minlength=cells).to(torch.float64)
    expected = values.numel() / cells
    return float(((counts - expected) ** 2 / expected).sum())


def test_the_stream_is_aes_256_in_counter_mode_under_a_derived_key():
    key = HKDFExpand(hashes.SHA256(), 32, b"mpccompile prg stream").derive(SEED)
    reference = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(400000))
    stream = Prg(SEED)
    assert stream.bytes(5) == reference[:5]
    words = stream.words((3, 5))
    assert words.numpy().tobytes() == reference[5:125]
    assert stream.bytes(0) == b""
    # Longer than a block of zeros.
    assert stream.bytes(399875) == reference[125:]


def test_known_answer():
    assert Prg(SEED).bytes(16).hex() == "d65df57bbb759f2387a4df47b513d590"
    assert Prg(SEED).spawn("child").bytes(16).hex() == "ed434fe9963b4778481b6cb296bcc1b2"


def test_equal_seeds_and_calls_give_equal_streams():
    def calls(stream):
        return [
            stream.words((4, 3)),
            stream.words((7,), bits=20),
            stream.words((2,), bits=1),
            stream.words((5,), bits=33),
        ]

    assert all(torch.equal(x, y) for x, y in zip(calls(Prg(SEED)), calls(Prg(SEED)), strict=True))
    stream = Prg(SEED)
    assert not torch.equal(stream.words((4,)), stream.words((4,)))
    assert not torch.equal(Prg(SEED).words((4,)), Prg(SEED[::-1]).words((4,)))
    assert Prg.fresh().bytes(32) != Prg.fresh().bytes(32)


def test_spawned_streams_are_independent_of_each_other_and_of_their_parent():
    parent = Prg(SEED)
    streams = [
        parent.spawn("a"),
        parent.spawn("b"),
        parent.spawn("a b"),
        parent.spawn(""),
        parent,
        Prg(SEED).spawn("a").spawn("b"),
    ]
    words = torch.stack([stream.words((20000,)) for stream in streams])
    for i, left in enumerate(words):
        for right in words[i + 1 :]:
            # Bits that agree: 64 x 20000 fair coins, five standard deviations around one half.
            differing = torch.tensor([int(x).bit_count() for x in ((left ^ right) & (2**63 - 1)).tolist()]).sum()
            assert abs(float(differing) / (63 * 20000) - 0.5) < 5 * 0.5 / (63 * 20000) ** 0.5


def test_a_spawned_stream_does_not_depend_on_the_position_of_its_parent():
    moved = Prg(SEED)
    moved.bytes(100)
    assert moved.spawn("a").bytes(32) == Prg(SEED).spawn("a").bytes(32)


def test_a_label_is_spawned_once():
    stream = Prg(SEED)
    stream.spawn("a")
    with pytest.raises(DealerError, match="'a' was spawned before"):
        stream.spawn("a")


@pytest.mark.parametrize("bits", [1, 3, 8, 12, 16, 20, 32, 33, 48, 63, 64])
def test_words_are_uniform_in_their_range(bits):
    words = Prg(SEED).words((1 << 16,), bits=bits)
    assert words.dtype == torch.int64
    if bits < 64:
        assert words.min().item() >= 0
        assert words.max().item() < 1 << bits
    for low in range(0, bits, 8):
        width = min(8, bits - low)
        cells = 1 << width
        statistic = chi_square((words >> low) & (cells - 1), cells)
        # Mean cells - 1, variance 2 (cells - 1): six standard deviations, and some room for the skew of few cells.
        assert statistic < cells - 1 + 6 * (2 * (cells - 1)) ** 0.5 + 10


def test_uniformity_is_that_of_the_generator_of_torch():
    ours = (Prg(SEED).words((1 << 18,)) >> 56) & 255
    theirs = torch.randint(0, 256, (1 << 18,), generator=torch.Generator().manual_seed(0))
    for values in (ours, theirs):
        assert 255 - 6 * 510**0.5 < chi_square(values, 256) < 255 + 6 * 510**0.5


def test_both_signs_and_the_top_bits_are_used():
    words = Prg(SEED).words((1 << 14,))
    assert abs(float((words < 0).to(torch.float64).mean()) - 0.5) < 5 * 0.5 / 2**7
    assert words.min() < -(2**62)
    assert words.max() > 2**62


def test_shapes_may_be_empty_or_scalar():
    assert Prg(SEED).words(()).shape == ()
    assert Prg(SEED).words((0, 3)).shape == (0, 3)
    assert Prg(SEED).words((2, 0), bits=20).dtype == torch.int64


def test_wrong_seeds_and_widths_are_refused():
    with pytest.raises(InputError, match="32 bytes"):
        Prg(b"short")
    for bits in (0, 65):
        with pytest.raises(InputError, match="between 1 and 64"):
            Prg(SEED).words((1,), bits=bits)
