"""Which method multiplies fastest on this machine: rates measured once in a process, and a model of the work.

Every method is exact, so the choice changes no result. The rates are measured at the first product on a device, in
0.02 s, or 0.25 s on a busy machine; the shapes of the model come from the digit counts of the operands.
"""

from __future__ import annotations

import time
from dataclasses import astuple, dataclass
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING, Literal

import torch

from mpccompile.runtime.kernels import float64, int64, limbs, tiles
from mpccompile.runtime.kernels.digits import terms

if TYPE_CHECKING:
    from collections.abc import Callable

Method = Literal["tiles", "limbs", "float64", "int64"]

WORD_BITS = 64
_UNAVAILABLE = float("inf")
# Rows whose time an int8 product takes even when it has fewer: 768 x 3072 takes 7.5, 9.5 and 16.9 ms for 16, 32 and
# 128 rows, as (rows + 80) / 208 of the last says. The long operand is read and repacked for any number of rows.
_REPACK_ROWS = 80
# Rows whose time a product of tiles takes even when it has fewer: the right operand is loaded for any number of rows.
_TILE_ROWS = 32
_PROBE_CALLS = 5
_PROBE_ROWS = 128
_PROBE_INNER = 256
_PROBE_COLUMNS = 256
# Parts of the model that hardly differ between processors, in seconds: one torch call; one result of one level of
# digits; one digit pair of a result with few rows; one word or digit byte of a long operand that is read once.
_CALL = 5e-6
_LEVEL_RESULT = 0.9e-9
_PAIR_RESULT = 4e-9
_WORD_READ = 1.5e-9
_DIGIT_READ = 0.06e-9
# Calls of a digit method besides its products, and how much longer it takes to split the right operand, which is also
# transposed.
_FIXED_CALLS = 30
_TILE_CALLS = 6
# Packing a word into tiles, eight digits.
_TILE_LEFT, _TILE_RIGHT = 1.5e-9, 3e-9
_TRANSPOSED = 2.0


@dataclass(frozen=True)
class Problem:
    """The work of a product: its shape, and the bits of its operands.

    Attributes:
        batch: Independent products.
        rows: M of [M, K] @ [K, N].
        inner: K.
        columns: N.
        left_bits: Bits of the left operand.
        right_bits: Bits of the right operand.
        ring_bits: Bits of the result.
        prepared: Whether the right operand's digits exist already.
    """

    batch: int
    rows: int
    inner: int
    columns: int
    left_bits: int
    right_bits: int
    ring_bits: int
    prepared: bool = False


@dataclass(frozen=True)
class Rates:
    """Seconds that a device needs for one multiply-add of each method, and to split one word into int8 digits."""

    tiles: float
    limbs: float
    float64: float
    int64: float
    split: float


def choose(problem: Problem, device: torch.device) -> Method:
    """Return the method that should solve ``problem`` soonest on ``device``."""
    return _chosen(problem, device, torch.get_num_threads())


@lru_cache(maxsize=4096)
def _chosen(problem: Problem, device: torch.device, threads: int) -> Method:
    rates = measured(device, threads)
    costs: dict[Method, float] = {
        "tiles": _tiles_seconds(problem, rates),
        "limbs": _limbs_seconds(problem, rates),
        "float64": _float64_seconds(problem, rates),
        "int64": _int64_seconds(problem, rates),
    }
    return min(costs, key=lambda method: costs[method])


@cache
def measured(device: torch.device, threads: int) -> Rates:
    """Measure the rates of ``device`` for ``threads`` threads.

    One thread is measured too, and the better rate counts: where other processes hold the cores at this moment, threads
    that wait for each other would make every threaded method look 20 times slower than it will be.
    """
    alone = _measured(device)
    if threads == 1 or device.type != "cpu":
        return alone
    torch.set_num_threads(1)
    try:
        single = _measured(device)
    finally:
        torch.set_num_threads(threads)
    return Rates(*(min(pair) for pair in zip(astuple(alone), astuple(single), strict=True)))


def _measured(device: torch.device) -> Rates:
    """Measure the rates of ``device`` as it is set now."""
    m, k, n = _PROBE_ROWS, _PROBE_INNER, _PROBE_COLUMNS
    left = torch.arange(m * k, dtype=torch.int64, device=device).view(m, k)
    right = torch.arange(n * k, dtype=torch.int64, device=device).view(n, k)
    halves = left.to(torch.float64), right.to(torch.float64)
    cut = limbs.split_of(k, limbs.digit_count(WORD_BITS), device)
    seconds = dict.fromkeys(("tiles", "limbs", "int64"), _UNAVAILABLE)
    if limbs.is_exact(device):
        # Eight times the columns: so fast a product would otherwise measure the call.
        octets = torch.zeros((8 * n, 8 * k), dtype=torch.int8, device=device)
        sums = torch.empty((m, 8 * n), dtype=torch.int32, device=device)
        seconds["limbs"] = _seconds(lambda: limbs.int8_product(octets[:m], octets, sums), device) / (64 * m * k * n)
    if device.type == "cpu" and tiles.available():
        digits = tiles.digit_count(WORD_BITS)
        packed = tiles.pack_right(right.t().repeat(1, 4), digits)
        whole = partial(tiles.multiply, left, packed, 4 * n, (digits, digits), (False, False), WORD_BITS)
        seconds["tiles"] = _seconds(whole, device) / (4 * m * k * n * digits * (digits + 1) / 2)
    if device.type == "cpu":
        seconds["int64"] = _seconds(lambda: int64.multiply(left, right.t()), device) / (m * k * n)
    return Rates(
        tiles=seconds["tiles"],
        limbs=seconds["limbs"],
        float64=_seconds(lambda: halves[0] @ halves[1].t(), device) / (m * k * n),
        int64=seconds["int64"],
        split=_seconds(lambda: limbs.split(left, cut, reverse=False), device) / (m * k),
    )


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    """Return the least time of five calls, after one that compiles the kernel."""
    call()
    times = []
    for _ in range(_PROBE_CALLS):
        _finish(device)
        start = time.perf_counter()
        call()
        _finish(device)
        times.append(time.perf_counter() - start)
    return min(times)


def _finish(device: torch.device) -> None:
    """Wait until the work given to ``device`` is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _tiles_seconds(problem: Problem, rates: Rates) -> float:
    """Predict the time of the tile unit; infinite where there is none."""
    if rates.tiles == _UNAVAILABLE:
        return _UNAVAILABLE
    few, many = tiles.digit_count(problem.left_bits), tiles.digit_count(problem.right_bits)
    pairs = sum(term.pairs for term in terms(few, many, tiles.digit_count(problem.ring_bits), 1))
    rows = max(_TILE_ROWS, -(-problem.rows // tiles.SIDE) * tiles.SIDE)
    inner = -(-problem.inner // tiles.DEPTH) * tiles.DEPTH
    columns = -(-problem.columns // tiles.SIDE) * tiles.SIDE
    seconds: float = _TILE_CALLS * _CALL + rates.tiles * problem.batch * rows * inner * columns * pairs
    seconds += _TILE_LEFT * problem.batch * problem.rows * inner
    return seconds + (0.0 if problem.prepared else _TILE_RIGHT * problem.batch * inner * columns)


def _limbs_seconds(problem: Problem, rates: Rates) -> float:
    """Predict the time of the int8 digit method; infinite where there is none."""
    if rates.limbs == _UNAVAILABLE:
        return _UNAVAILABLE
    few, many = limbs.digit_count(problem.left_bits), limbs.digit_count(problem.right_bits)
    plan = terms(few, many, limbs.digit_count(problem.ring_bits), 1)
    pairs = sum(term.pairs for term in plan)
    results = problem.batch * problem.rows * problem.columns
    words = problem.batch * problem.inner * problem.columns
    seconds: float = _FIXED_CALLS * _CALL + rates.split * problem.batch * problem.rows * problem.inner
    seconds += 0.0 if problem.prepared else _TRANSPOSED * rates.split * words
    if problem.rows <= limbs.FEW_ROWS:
        seconds += words * many * _DIGIT_READ + results * pairs * _PAIR_RESULT + _CALL * problem.batch * pairs
    else:
        repacked = (problem.rows + _REPACK_ROWS) / (_PROBE_ROWS + _REPACK_ROWS) * _PROBE_ROWS
        seconds += words * repacked * pairs * rates.limbs
        seconds += results * len(plan) * _LEVEL_RESULT + _CALL * problem.batch * len(plan)
    return seconds


def _float64_seconds(problem: Problem, rates: Rates) -> float:
    """Predict the time of the float64 digit method."""
    few, many = float64.digit_count(problem.left_bits), float64.digit_count(problem.right_bits)
    plan = terms(few, many, float64.digit_count(problem.ring_bits), 1)
    pairs = sum(term.pairs for term in plan)
    words = problem.batch * problem.inner * problem.columns
    results = problem.batch * problem.rows * problem.columns
    seconds: float = _FIXED_CALLS * _CALL + rates.split * problem.batch * problem.rows * problem.inner
    seconds += words * many * _WORD_READ + (0.0 if problem.prepared else _TRANSPOSED * rates.split * words)
    chunks = float64.split_of(problem.inner, many, problem.right_bits).chunks
    seconds += words * problem.rows * pairs * rates.float64 + results * len(plan) * chunks * _WORD_READ
    return seconds


def _int64_seconds(problem: Problem, rates: Rates) -> float:
    """Predict the time of torch's own int64 operations."""
    words = problem.batch * problem.inner * problem.columns
    return _CALL + words * _WORD_READ + (words * problem.rows * rates.int64 if problem.rows > 1 else 0.0)
