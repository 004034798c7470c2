"""Range tests: a value that left the range its protocol was built for is reported, never silently wrong.

A masked opening D = x + r already tells the window of x up to one: with u = (D >> g) - (r >> g), u - 1 <= x >> g <= u.
So x in [0, n 2^g) gives u in {0, ..., n}, and any x outside [-2^g, (n + 1) 2^g) gives another u. The polynomial
u (u - 1) ... (u - n) is zero on the first set; it costs no message, because the dealer shares the falling factorials of
r >> g. Modulo a power of two it is zero in more places, where one factor holds nearly all of the modulus: a second test
with a single window 16 times as wide, whose polynomial u (u - 1) has no such places, keeps x away from them.

All polynomials are zero exactly when one party's shares are the negatives of the other's, word by word. So each party
adds up its words with public random coefficients, in a wider ring where no violations cancel, and the sums of a
statement are compared by a digest: the difference, times a secret random odd number, is opened once, and zero says that
every value was in range.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mpccompile.errors import RangeExceeded
from mpccompile.runtime.kernels.falling import WORD_BITS, Window, range_words
from mpccompile.runtime.openings import RING_BITS, draw
from mpccompile.runtime.party import Opening, Protocol, current, together

if TYPE_CHECKING:
    from mpccompile.runtime.shared import Wire

REPEATS = 2
"""Independent sums per test. Words differ by less than 2^32, and times an odd coin below 2^32 no two differences are
the same modulo 2^64: a sum misses them with a probability of 2^-31, however many there are, and never a single one."""
DIGEST_BYTES = 8
COARSE_BITS = 4
"""The second test's window is 2^4 windows: it holds up to 11 of them and one beyond each end. Polynomials of values
that it lets through hold at most 2^12, far from the 2^20 or more that they are taken modulo."""
MOST_COARSER_BITS = 18
"""A product of 12 neighbours below 2^20 holds at most 2^28 of the 2^32 that words are taken modulo."""


@dataclass(frozen=True)
class Check:
    """The tests of one statement of the program.

    Attributes:
        line: Statement whose values were tested.
        total: This party's ``REPEATS`` random combinations; both parties have the same when every value is in range.
    """

    line: int
    total: Tensor


def expect_window(wire: Wire, low: int, windows: int, window_bits: int, only: Tensor | None = None) -> None:
    """Register the test that x lies in [low, low + windows * 2^window_bits), in ring units.

    Values up to one window outside may pass; the series this guards is accurate there. Where the public ``only`` is
    False, nothing is tested, because the value is not used.
    """
    _register(wire, low, windows, window_bits, only)
    middle = low + (windows << window_bits) // 2
    for wide in wider_windows(window_bits, wire.bits):
        _register(wire, middle - (1 << (wide - 1)), 1, wide, only)


def wider_windows(window_bits: int, bits: int) -> list[int]:
    """Return log2 of the single windows of the tests that follow the first, the last of which sees the whole ring.

    Words hold 32 bits, so a test sees values up to 2^(32 + window) ring units: each later window is wide enough for
    what is left of the ring, or at most 2^18 times the one before, whose polynomial has no other zeros that near.
    """
    found: list[int] = []
    width = window_bits
    while width + COARSE_BITS < bits and (not found or width + WORD_BITS < bits):
        width = max(width + COARSE_BITS, min(width + MOST_COARSER_BITS, bits - WORD_BITS))
        found.append(width)
    return found


def _register(wire: Wire, low: int, windows: int, window_bits: int, only: Tensor | None) -> None:
    party = current()
    shape = tuple(wire.mask.share.shape)
    window = Window(low, wire.bits, window_bits, windows + 1)
    table = draw("falling", (window.degree, *shape), wire.mask, params=(wire.bits, window_bits, window.degree))
    coins = party.public_coins(shape)
    kept = None if only is None else only.expand(shape)
    if coins.device.type == "meta":
        total = torch.empty(REPEATS, dtype=torch.int64, device="meta")
    else:
        total = range_words(wire.delta, table.share, window, coins, kept, party.rank)
    party.checks.append(Check(party.ledger.line, total))


def verify_later(verification: Callable[[], Protocol[None]]) -> None:
    """Keep a verification for the end of the call, where all of them run side by side."""
    party = current()
    party.deferred.append((party.ledger.line, verification))


def _on_line(line: int, verification: Callable[[], Protocol[None]]) -> Protocol[None]:
    """Run a verification so that the checks it registers carry the line of the statement it belongs to."""
    protocol = verification()
    reply: tuple[Tensor, ...] | None = None
    ledger = current().ledger
    while True:
        outer, ledger.line = ledger.line, line
        try:
            request = next(protocol) if reply is None else protocol.send(reply)
        except StopIteration:
            return
        finally:
            ledger.line = outer
        reply = yield request


def settled() -> Protocol[list[Check]]:
    """Run what was kept for the end of the call and return its tests, each once."""
    party = current()
    deferred, party.deferred = party.deferred, []
    yield from together(*(_on_line(line, verification) for line, verification in deferred))
    checks, party.checks = party.checks, []
    return checks


def finish() -> Protocol[None]:
    """Open whether every value of the call stayed in range, one masked number per test.

    Raises:
        RangeExceeded: Naming the statements that did not; both parties learn which, and nothing else: the difference of
            two digests tells nothing of what they are of.
    """
    party = current()
    checks = yield from settled()
    if not checks:
        return
    digests = _digests(torch.stack([check.total for check in checks]))
    mask = draw("mask", digests.shape)
    seed = draw("mask", digests.shape)
    odd = draw("odd", digests.shape, seed)
    crossed = draw("mul", digests.shape, mask, odd)
    (delta,) = yield (Opening((digests if party.rank == 0 else -digests) + mask.share, RING_BITS),)
    (opened,) = yield (Opening(delta * odd.share - crossed.share, RING_BITS),)
    if opened.device.type == "meta":
        return
    failed = [check.line for check, value in zip(checks, opened.tolist(), strict=True) if value]
    if failed:
        raise RangeExceeded(
            "a private value left the range it was calibrated for, so no answer is given",
            where=", ".join(f"model.py:{line}" for line in sorted(set(failed))),
            hint="Compile with example_inputs that look like the data, or with a larger range_margin.",
        )


def _digests(totals: Tensor) -> Tensor:
    """Return a word for each row, equal for equal rows and random otherwise."""
    if totals.device.type == "meta":
        return totals[:, 0]
    rows = totals.cpu().contiguous().numpy()
    words = [hashlib.blake2b(row.tobytes(), digest_size=DIGEST_BYTES).digest() for row in rows]
    return torch.frombuffer(bytearray(b"".join(words)), dtype=torch.int64).to(totals.device)
