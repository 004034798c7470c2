"""All that travels is uniform, whatever the secret, to a party that looks at it together with all it holds itself.

A protocol runs once on thousands of copies of one secret, each with randomness of its own. Every opening is then a
sample of what a fixed secret looks like on the wire, and its bits, bytes and differences are counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from mpccompile.runtime import checks, ring
from mpccompile.runtime import functions as mpc
from mpccompile.runtime.openings import draw, masked, truncate
from mpccompile.runtime.party import Opening, current
from mpccompile.runtime.products import product, square, static_product, sum_of_squares
from mpccompile.runtime.series import TESTED_BITS
from mpccompile.runtime.shared import ClientValue, Shared, StaticWeight
from tests.runtime.pair import Call, run_call, share
from tests.runtime.uniformity import (
    FALSE_ALARM,
    FEWEST_SAMPLES,
    MOST_COUNTS,
    Counts,
    differences,
    everything_sent_is_opened,
    is_biased,
    suspicions,
)

COPIES = 4096
ROWS = 1024

Program = Callable[..., Any]
Secret = tuple[Any, ...]


# ---------------------------------------------------------------------------------------------------------- protocols


def copies(value: float) -> Any:
    return share(torch.full((COPIES,), value, dtype=torch.float64))


def rows_of(*values: float) -> Any:
    return share(torch.tensor(values, dtype=torch.float64).repeat(ROWS, 1))


def weight(*shape: int) -> StaticWeight:
    plain = torch.randint(-(1 << 15), 1 << 15, shape, generator=torch.Generator().manual_seed(0))
    return StaticWeight("w", plain, 16)


def narrow(x: Shared) -> Any:
    return truncate(Shared(x.share, x.frac_bits, bits=40), 8)


def repeated_check(x: Shared) -> Any:
    wire = yield from masked(x, TESTED_BITS)
    for _ in range(FEWEST_SAMPLES // 2):
        checks.expect_window(wire, -(8 << 16), 8, 17)
    yield from checks.finish()
    return x


SOFTMAX = mpc.SoftmaxRange(-4.0, 4.0, ((0.1, 5.0), (0.2, 1.1)), centred=True, halvings=1)
PROTOCOLS: dict[str, tuple[Program, tuple[Secret, Secret]]] = {
    "opening": (lambda x: masked(x, 64), ((copies(0.0),), (copies(-3.5),))),
    "narrow opening": (lambda x: masked(x, 20), ((copies(0.0),), (copies(-3.5),))),
    "truncation": (lambda x: truncate(x, 3), ((copies(0.0),), (copies(-3.5),))),
    "narrow truncation": (narrow, ((copies(0.0),), (copies(-3.5),))),
    "product": (lambda x, y: product(x, y, "mul"), ((copies(0.0), copies(0.0)), (copies(1e4), copies(-1.0)))),
    "matrix product": (
        lambda x, y: product(x, y, "matmul"),
        ((rows_of(0, 0, 0, 0), share(torch.zeros(4, 256))), (rows_of(1, 2, -3, 4), share(torch.ones(4, 256)))),
    ),
    "square": (square, ((copies(0.0),), (copies(100.0),))),
    "sum of squares": (sum_of_squares, ((rows_of(0, 0, 0, 0),), (rows_of(1, 2, 3, 4),))),
    "static product": (
        lambda x, w: static_product(x, w, "linear"),
        ((rows_of(0, 0, 0, 0), weight(3, 4)), (rows_of(1, 2, 3, 4), weight(3, 4))),
    ),
    "linear": (mpc.linear, ((rows_of(0, 0, 0, 0), weight(4, 4)), (rows_of(1, 2, 3, 4), weight(4, 4)))),
    "embedding": (
        mpc.embedding,
        (
            (ClientValue(torch.zeros(ROWS, dtype=torch.long)), weight(4, 4)),
            (ClientValue(torch.full((ROWS,), 3)), weight(4, 4)),
        ),
    ),
    "embedding of nobody's ids": (
        mpc.embedding,
        (
            (share(torch.zeros(ROWS, dtype=torch.long), 0), weight(4, 4)),
            (share(torch.full((ROWS,), 3), 0), weight(4, 4)),
        ),
    ),
    "argmax": (mpc.argmax, ((rows_of(0, 0, 0, 0),), (rows_of(3, -1, 9, -2),))),
    "narrow argmax": (
        lambda x: mpc.argmax(x, within=16.0),
        ((rows_of(0, 0, 0, 0),), (rows_of(3, -1, 9, -2),)),
    ),
    "relu": (mpc.relu, ((copies(-1.0),), (copies(0.0),))),
    "gelu": (lambda x: mpc.gelu(x, scope=(-6.0, 6.0), tolerance=1e-3), ((copies(-5.0),), (copies(1.0),))),
    "sigmoid": (lambda x: mpc.sigmoid(x, scope=(-4.0, 4.0), tolerance=1e-3), ((copies(-3.9),), (copies(0.0),))),
    "reciprocal": (lambda x: mpc.reciprocal(x, scope=(0.5, 4.0)), ((copies(0.5),), (copies(4.0),))),
    "wide reciprocal": (lambda x: mpc.reciprocal(x, scope=(0.5, 40.0)), ((copies(0.5),), (copies(33.0),))),
    "inverse root": (lambda x: mpc.rsqrt(x, scope=(0.5, 4.0)), ((copies(0.5),), (copies(4.0),))),
    "layer norm": (
        lambda x, w: mpc.layer_norm(x, w, variance=(0.1, 9.0)),
        ((rows_of(1, -1, 1, -1), weight(4)), (rows_of(5, 2, 1, 0), weight(4))),
    ),
    "quadratic": (
        lambda x: mpc.quadratic(x, 0.125, 0.25, 0.5, scope=(-6.0, 6.0), bound=64.0),
        ((copies(-5.0),), (copies(1.0),)),
    ),
    "proven quadratic": (
        lambda x: mpc.quadratic(x, 0.125, 0.25, 0.5, bound=64.0),
        ((copies(-5.0),), (copies(1.0),)),
    ),
    "2quad": (
        lambda x: mpc.softmax(x, None, "2quad", scope=mpc.SoftmaxRange(-4.0, 4.0, ((9.0, 60.0),)), tolerance=1e-3),
        ((rows_of(0, 0, 0, 0),), (rows_of(3, -1, 0, -2),)),
    ),
    "2relu": (
        lambda x: mpc.softmax(x, None, "2relu", scope=mpc.SoftmaxRange(-4.0, 4.0, ((2.0**-6, 9.0),)), tolerance=1e-3),
        ((rows_of(0, 0, 0, 0),), (rows_of(3, -1, 0, -2),)),
    ),
    "softmax": (
        lambda x: mpc.softmax(x, scope=SOFTMAX, tolerance=1e-3),
        ((rows_of(0, 0, 0, 0),), (rows_of(3, -1, 0, -2),)),
    ),
}


def finishing(program: Program) -> Program:
    """Return the program with its range tests, whose verdict has too few numbers to be counted here."""

    def run(*args):
        outcome = program(*args)
        if hasattr(outcome, "send"):
            yield from outcome
        yield from checks.finish()

    return run


def run_openly(name: str, secret: int) -> Call:
    program, secrets = PROTOCOLS[name]

    def run(*args):
        return finishing(program)(*args)

    return run_call(run, *secrets[secret])


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_party_sees_nothing_but_uniform_words_and_they_do_not_depend_on_the_secret(name):
    one, two = (run_openly(name, secret) for secret in (0, 1))
    assert suspicions(two) == []
    assert differences(one, two) == []
    assert everything_sent_is_opened(one)
    assert any(opening.share.numel() >= FEWEST_SAMPLES for opening in one.parties[0].openings)


def test_the_verdict_on_ranges_is_masked_until_it_is_revealed():
    outcome = run_call(repeated_check, share(torch.zeros(4)))
    verdict = len(outcome.parties[0].openings) - 1
    assert outcome.parties[0].openings[verdict].share.numel() >= FEWEST_SAMPLES
    assert suspicions(outcome, frozenset({verdict})) == []
    # In range, the verdict is zero and says nothing else.
    assert not outcome.parties[0].opened[verdict].any()


# ----------------------------------------------------------------------------------------------------- broken protocols


def unmasked(x):
    yield (Opening(x.share, 64),)


def with_one_mask_twice(x):
    mask = draw("mask", x.shape)
    yield (Opening(x.share + mask.share, 64),)
    yield (Opening(3 * x.share + mask.share, 64),)


def with_a_narrow_mask(x):
    mask = draw("mask", x.shape)
    yield (Opening(x.share + ring.reduce(mask.share, 40), 64),)


def with_a_mask_shifted_up(x):
    mask = draw("mask", x.shape)
    yield (Opening(x.share + (mask.share << 8), 64),)


def with_a_mask_of_one_party(x):
    mask = draw("mask", x.shape)
    yield (Opening(x.share + (mask.share if current().rank == 0 else 0), 64),)


def times_a_mask(x):
    seed = draw("mask", x.shape)
    odd = draw("odd", x.shape, seed)
    yield (Opening(x.share + 0 * odd.share, 64),)


def not_reduced_after_truncation(x):
    # Right modulo 2^48 only: above, the sum of the shares of a shifted mask is not uniform.
    mask = draw("mask", x.shape)
    high = draw("shift", x.shape, mask, params=(64, 16))
    yield (Opening(x.share + high.share, 64),)


def with_a_mask_and_its_shift(x):
    mask = draw("mask", x.shape)
    high = draw("shift", x.shape, mask, params=(64, 16))
    yield (Opening(x.share + mask.share, 64),)
    yield (Opening(x.share + high.share, 40),)


def with_the_mask_of_a_product(x):
    seed = draw("mask", x.shape)
    other = draw("mask", x.shape)
    both = draw("mul", x.shape, seed, other)
    yield (Opening(x.share + both.share, 64),)


BROKEN = [
    unmasked,
    with_one_mask_twice,
    with_a_mask_and_its_shift,
    with_a_narrow_mask,
    with_a_mask_shifted_up,
    with_a_mask_of_one_party,
    times_a_mask,
    not_reduced_after_truncation,
    with_the_mask_of_a_product,
]


@pytest.mark.parametrize("protocol", BROKEN)
def test_a_broken_protocol_is_caught(protocol):
    assert suspicions(run_call(protocol, copies(1.5))) != []


def test_a_message_that_depends_on_the_secret_is_caught():
    def with_a_fixed_mask(x):
        yield (Opening(x.share + 12345, 64, to=0),)

    plain = [torch.full((COPIES,), value) for value in (5, 6)]
    zeros = torch.zeros(COPIES, dtype=torch.long)
    one, two = (run_call(with_a_fixed_mask, (Shared(zeros, 0), Shared(value, 0))) for value in plain)
    assert differences(one, two) != []


def test_fair_words_are_let_through():
    words = torch.randint(-(2**62), 2**62, (COPIES,)) * 2 + torch.randint(0, 2, (COPIES,))
    assert not is_biased(words, 64)
    assert is_biased(words >> 1, 64)
    assert is_biased(words * 2, 64)


def test_the_suite_raises_a_false_alarm_less_than_once_in_a_million_runs():
    # Each count of bits looks at 64 of them, at a level divided by as many.
    assert Counts.made <= MOST_COUNTS
    assert MOST_COUNTS * FALSE_ALARM < 1e-6
