"""All that travels is uniform, whatever the secret, to a party that looks at it together with all it holds itself.

A protocol runs once on thousands of copies of one secret, each with randomness of its own. Every opening is then a
sample of what a fixed secret looks like on the wire, and its bits, bytes and differences are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from itertools import product as product_of
from typing import Any

import pytest
import torch
from scipy.stats import chi2, norm

from mpccompile.runtime import checks, correlations, ring
from mpccompile.runtime import functions as mpc
from mpccompile.runtime.openings import draw, masked, truncate
from mpccompile.runtime.party import Opening, current
from mpccompile.runtime.products import product, square, static_product, sum_of_squares
from mpccompile.runtime.series import TESTED_BITS
from mpccompile.runtime.shared import ClientValue, Shared, StaticWeight
from tests.runtime.pair import Call, WatchedParty, run_call, share

COPIES = 4096
ROWS = 1024
FEWEST_SAMPLES = 512
MANY_SAMPLES = 4096
FALSE_ALARM = 5e-13
"""For one count. The suite makes fewer than 10^5, so that it raises a false alarm less than once in 10^6 runs."""
MOST_COUNTS = 100_000

Program = Callable[..., Any]
Secret = tuple[Any, ...]


class Counts:
    """Counts of the suite, to hold its false alarms to account."""

    made = 0


def biased_cells(cells: torch.Tensor, count: int) -> bool:
    """Say whether integers in 0..count-1 are surely not uniform, by a chi-square test."""
    Counts.made += 1
    found = torch.bincount(cells, minlength=count).to(torch.float64)
    expected = cells.numel() / count
    return float(((found - expected) ** 2 / expected).sum()) > chi2.isf(FALSE_ALARM, count - 1)


def unlike_cells(one: torch.Tensor, two: torch.Tensor, count: int) -> bool:
    """Say whether two samples of integers in 0..count-1 surely come from different distributions."""
    Counts.made += 1
    first, second = (torch.bincount(cells, minlength=count).to(torch.float64) for cells in (one, two))
    both = (first + second).clamp(min=1)
    scale = (two.numel() / one.numel()) ** 0.5
    return float(((scale * first - second / scale) ** 2 / both).sum()) > chi2.isf(FALSE_ALARM, count - 1)


def biased_bits(words: torch.Tensor, bits: int) -> bool:
    """Say whether one of the low bits of the words is surely no fair coin."""
    Counts.made += 1
    ones = torch.stack([(words >> place) & 1 for place in range(bits)]).sum(1).to(torch.float64)
    deviations = (ones - words.numel() / 2).abs() / (words.numel() / 4) ** 0.5
    return float(deviations.max()) > norm.isf(FALSE_ALARM / (2 * bits))


def ends_of(words: torch.Tensor, bits: int) -> Iterator[tuple[torch.Tensor, int]]:
    """Yield the low and the high bits of words modulo 2^bits as small integers, and how many of those there are."""
    size = min(bits, 8 if words.numel() >= MANY_SAMPLES else 4)
    yield ring.reduce(words, size), 1 << size
    if bits > size:
        yield ring.reduce(words >> (bits - size), size), 1 << size


def signs_of(words: torch.Tensor, bits: int) -> torch.Tensor:
    """Return the low bits of words [n] as 1.0 and -1.0, [bits, n]."""
    return torch.stack([((words >> place) & 1) * 2 - 1 for place in range(bits)]).to(torch.float32)


def correlated(one: torch.Tensor, two: torch.Tensor) -> bool:
    """Say whether a bit of one sample of words surely tells about a bit of another, from their signs."""
    Counts.made += 1
    agreement = (one @ two.T).abs()
    if one is two:
        agreement.fill_diagonal_(0.0)
    return float(agreement.max()) > one.shape[1] ** 0.5 * norm.isf(FALSE_ALARM / (2 * agreement.numel()))


def is_biased(words: torch.Tensor, bits: int) -> bool:
    """Say whether words modulo 2^bits are surely not uniform."""
    flat = ring.reduce(words.reshape(-1), bits)
    return biased_bits(flat, bits) or any(biased_cells(cells, count) for cells, count in ends_of(flat, bits))


def is_skewed(words: torch.Tensor, bits: int) -> bool:
    """Say the same from the ends of the words alone, for the many differences."""
    return any(biased_cells(cells, count) for cells, count in ends_of(words.reshape(-1), bits))


@dataclass(frozen=True)
class Seen:
    """Words that a party has seen: opened, or a share of its own."""

    name: str
    words: torch.Tensor
    bits: int
    signs: torch.Tensor


def seen(name: str, words: torch.Tensor, bits: int) -> Seen:
    return Seen(name, words, bits, signs_of(words, bits))


def learnt(party: WatchedParty, revealed: frozenset[int]) -> list[Seen]:
    """Return the opened values that a party learns; those meant to be revealed are left out."""
    return [
        seen(f"opening {index}", value.reshape(-1), opening.bits)
        for index, (opening, value) in enumerate(zip(party.openings, party.opened, strict=True))
        if opening.to in {None, party.rank} and index not in revealed and value.numel() >= FEWEST_SAMPLES
    ]


def held(party: WatchedParty) -> list[Seen]:
    """Return a party's own shares, the first and the last where a step has several for each element."""
    found = []
    for step, mask in party.drawn:
        rows = mask.share.reshape(mask.share.shape[0], -1) if step.kind in SEVERAL else mask.share.reshape(1, -1)
        bits = 32 if step.kind in correlations.NARROW else 64
        found += [seen(f"its {step.kind}", rows[place].to(torch.int64), bits) for place in {0, len(rows) - 1}]
    return [item for item in found if item.words.numel() >= FEWEST_SAMPLES]


SEVERAL = frozenset({"trigonometry", "falling"})


def suspicions(outcome: Call, revealed: frozenset[int] = frozenset()) -> list[str]:
    """Return everything about the messages of a call that is surely not uniform."""
    found = []
    for party in outcome.parties:
        for index, opening in enumerate(party.openings):
            sent = opening.to != party.rank and opening.share.numel() >= FEWEST_SAMPLES
            if sent and is_biased(opening.masked, opening.bits):
                found.append(f"party {party.rank} sends a biased share in opening {index}")
        known = learnt(party, revealed)
        found += [f"{item.name} is biased" for item in known if is_biased(item.words, item.bits)]
        found += [f"bits of {item.name} tell about each other" for item in known if correlated(item.signs, item.signs)]
        pairs = [*combinations(known, 2), *product_of(known, held(party))]
        found += [f"party {party.rank} sees through {one.name} with {two.name}" for one, two in pairs if tell(one, two)]
    return found


def tell(one: Seen, two: Seen) -> bool:
    """Say whether two words, element by element, tell more than each alone: by their difference, or by single bits."""
    if one.words.shape != two.words.shape:
        return False
    width = min(one.bits, two.bits)
    return is_skewed(ring.reduce(one.words - two.words, width), width) or correlated(one.signs, two.signs)


def differences(one: Call, two: Call) -> list[str]:
    """Return which messages of two calls surely have different distributions."""
    found = []
    for left, right in zip(one.parties, two.parties, strict=True):
        assert [opening.bits for opening in left.openings] == [opening.bits for opening in right.openings]
        for index, (first, second) in enumerate(zip(left.openings, right.openings, strict=True)):
            if first.to == left.rank or first.share.numel() < FEWEST_SAMPLES:
                continue
            words = [ring.reduce(opening.masked.reshape(-1), first.bits) for opening in (first, second)]
            for (cells, count), (others, _) in zip(*(ends_of(w, first.bits) for w in words), strict=True):
                if unlike_cells(cells, others, count):
                    found.append(f"opening {index} of party {left.rank} depends on the secret")
    return found


def everything_sent_is_opened(outcome: Call) -> bool:
    """Say whether the bytes on the line are those of the openings, and no others."""
    for party, channel in zip(outcome.parties, outcome.channels, strict=True):
        packed = [ring.pack(o.masked, o.bits) for o in party.openings if o.to != party.rank]
        if not torch.equal(torch.cat(packed) if packed else torch.empty(0), torch.cat(channel.sent)):
            return False
    return True


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
