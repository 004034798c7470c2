"""What looks at messages and says which are surely not uniform, or tell about each other or about the secret."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from itertools import product as product_of

import torch
from scipy.stats import chi2, norm

from mpccompile.runtime import correlations, ring
from tests.runtime.pair import Call, WatchedParty

FEWEST_SAMPLES = 512
MANY_SAMPLES = 4096
FALSE_ALARM = 5e-13
"""For one count. The suite makes fewer than 10^5, so that it raises a false alarm less than once in 10^6 runs."""
MOST_COUNTS = 100_000


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
