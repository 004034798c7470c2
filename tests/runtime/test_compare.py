"""Comparisons are exact on all of int64, and differences of two values as long as they fit."""

from __future__ import annotations

import math

import pytest
import torch

from mpccompile.runtime import functions as mpc
from mpccompile.runtime import ring
from mpccompile.runtime.compare import is_negative, maximum, maximum_over_last, place_of_largest, relu
from tests.runtime.pair import added, random_words, run_call, share

SMALLEST, LARGEST = -(2**63), 2**63 - 1
WORD_BITS = 64


def extremes() -> torch.Tensor:
    """Return every power of two with both signs and its neighbours, and the ends of int64."""
    found = {0, SMALLEST, SMALLEST + 1, LARGEST, LARGEST - 1}
    found |= {sign * 2**power + step for power in range(63) for sign in (1, -1) for step in (-1, 0, 1)}
    return torch.tensor(sorted(found))


def test_signs_are_exact_at_every_extreme():
    x = extremes().repeat(16)
    outcome = run_call(is_negative, share(x))
    assert outcome.results[0].frac_bits == 0
    assert torch.equal(added(outcome.results), (x < 0).long())


def test_signs_are_exact_for_random_words():
    x = random_words((20_000,))
    assert torch.equal(added(run_call(is_negative, share(x)).results), (x < 0).long())


def test_signs_are_exact_whatever_the_mask():
    # A borrow that runs over all of the word: the mask's low bits exceed the value's by one.
    x = torch.tensor([0, -1, 1, SMALLEST, LARGEST]).repeat(4000)
    assert torch.equal(added(run_call(is_negative, share(x)).results), (x < 0).long())


def test_relu_is_exact_on_all_of_int64():
    x = torch.cat([extremes(), random_words((5000,))])
    outcome = run_call(relu, share(x))
    assert outcome.results[0].frac_bits == 16
    assert torch.equal(added(outcome.results), x.clamp(min=0))


def test_the_relu_of_programs_is_exact_on_all_of_int64():
    x = extremes()
    assert torch.equal(added(run_call(mpc.relu, share(x)).results), x.clamp(min=0))


@pytest.mark.parametrize("shape", [(), (1,), (0,), (2, 0, 3), (3, 1, 5)])
def test_relu_takes_any_shape(shape):
    x = random_words(shape)
    result = added(run_call(relu, share(x)).results)
    assert result.shape == x.shape
    assert torch.equal(result, x.clamp(min=0))


def test_the_larger_of_two_is_exact_while_their_difference_fits():
    x = extremes()
    left, right = x[:, None].expand(-1, len(x)).reshape(-1), x.repeat(len(x))
    gap = left.double() - right.double()
    # Doubles round a difference near the limit; those next to it are left out.
    fits = gap.abs() <= 2.0**63 - 4096
    left, right = left[fits], right[fits]
    result = added(run_call(maximum, share(left), share(right)).results)
    assert torch.equal(result, torch.maximum(left, right))


def test_the_larger_of_two_is_wrong_beyond():
    # What the limit of the test above is: the difference of the two has wrapped around.
    result = added(run_call(maximum, share(torch.tensor([LARGEST])), share(torch.tensor([SMALLEST]))).results)
    assert int(result) == SMALLEST


@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5, 7, 8, 9, 31])
def test_a_tournament_finds_the_largest(columns):
    x = random_words((50, columns)) >> 1
    x[0] = x[0, 0]
    x[1] = -(2**62)
    x[2, -1] = 2**62 - 1
    outcome = run_call(maximum_over_last, share(x))
    assert torch.equal(added(outcome.results), x.max(-1).values)


def test_a_tournament_takes_a_logarithm_of_rounds():
    sizes = (2, 3, 4, 8, 16)
    rounds = [len(run_call(maximum_over_last, share(random_words((1, size)))).channels[0].sent) for size in sizes]
    levels = [math.ceil(math.log2(size)) for size in sizes]
    assert [count / level for count, level in zip(rounds, levels, strict=True)] == [rounds[0]] * len(sizes)


def test_a_sign_takes_one_round_for_each_doubling_of_the_span():
    outcome = run_call(is_negative, share(random_words((7,))))
    opening, conversion = 1, 1
    assert len(outcome.channels[0].sent) == opening + math.ceil(math.log2(WORD_BITS - 1)) + conversion


@pytest.mark.parametrize(("kernel", "stride"), [((2, 2), (2, 2)), ((3, 2), (1, 2)), ((1, 1), (1, 1))])
def test_max_pooling_is_exact(kernel, stride):
    x = random_words((2, 3, 6, 7)) >> 1
    outcome = run_call(lambda a: mpc.max_pool2d(a, kernel, stride), share(x))
    windows = x.unfold(2, kernel[0], stride[0]).unfold(3, kernel[1], stride[1])
    assert torch.equal(added(outcome.results), windows.flatten(4).max(-1).values)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5, 7, 8, 9, 31])
def test_a_tournament_finds_the_first_of_the_largest(columns, bits):
    limit = 2 ** (bits - 2)
    x = torch.randint(-limit, limit, (50, columns))
    x[0] = x[0, 0]
    x[1, columns // 2 :] = limit - 1
    x[2] = -limit
    x[2, -1] = limit - 1
    outcome = run_call(lambda a: place_of_largest(a, bits), share(x))
    assert outcome.results[0].frac_bits == 0
    assert torch.equal(ring.reduce(added(outcome.results), bits), x.argmax(-1))


@pytest.mark.parametrize("bits", [32, 64])
def test_places_of_the_largest_cost_a_level_of_ands_for_each_doubling(bits):
    columns = 1000
    outcome = run_call(lambda a: place_of_largest(a, bits), share(torch.randint(-9, 9, (1, columns))))
    levels, opening, conversion = math.ceil(math.log2(columns)), 1, 1
    assert len(outcome.channels[0].sent) == levels * (opening + math.log2(bits) + conversion)
    # Besides the value and its place: three bits of each AND, of which there are fewer than bits, and the sign.
    spent = outcome.channels[0].bytes_sent / (columns - 1)
    assert spent < 1.02 * (2 * bits + 3 * (bits - 1) + 1) / 8
