"""Layer norm and RMS norm."""

from __future__ import annotations

import math

from mpccompile.runtime.functions.values import Range, Secret, Value, added, divided, fixed, secret, usual
from mpccompile.runtime.inverse import result_bits
from mpccompile.runtime.inverse import rsqrt as inverse_root
from mpccompile.runtime.openings import masked, truncate
from mpccompile.runtime.party import Protocol, current, together
from mpccompile.runtime.products import product, static_product, sum_of_squares
from mpccompile.runtime.shared import Shared, StaticWeight
from mpccompile.runtime.statements import private_function


@private_function
def layer_norm(
    x: Secret,
    weight: Value | None = None,
    bias: Value | None = None,
    eps: float = 1e-5,
    *,
    variance: Range,
    bound: float | None = None,
) -> Protocol[Shared]:
    """Layer norm over the last dim; ``variance`` is the calibrated range of the row variances plus eps."""
    value = yield from _scaled_for(x, variance)
    total = Shared(value.share.sum(-1, keepdim=True), value.frac_bits)
    mean = yield from divided(total, value.shape[-1], value.frac_bits)
    centred = Shared(value.share - mean.share, value.frac_bits)
    return (yield from _normalise(centred, weight, bias, eps, variance, bound))


@private_function
def rms_norm(
    x: Secret, weight: Value | None = None, eps: float = 1e-6, *, variance: Range, bound: float | None = None
) -> Protocol[Shared]:
    """Root-mean-square norm over the last dim; ``variance`` is the calibrated range of the mean squares plus eps."""
    value = yield from _scaled_for(x, variance)
    return (yield from _normalise(value, weight, None, eps, variance, bound))


SIGNIFICANT_BITS = 16


def _scaled_for(x: Secret, variance: Range) -> Protocol[Shared]:
    """Give values of standard deviation sqrt(variance) about 16 significant bits, whatever their size.

    Embeddings drawn with deviation 0.02 would otherwise enter with 10 bits, and outliers of 1e4 overflow when squared.
    """
    value = secret(x)
    wanted = SIGNIFICANT_BITS - math.floor(math.log2(variance[1]) / 2)
    return (yield from truncate(value, max(8, min(wanted, value.frac_bits))))


def _normalise(
    x: Shared, weight: Value | None, bias: Value | None, eps: float, variance: Range, bound: float | None
) -> Protocol[Shared]:
    """Return x / sqrt(mean(x^2) + eps) * weight + bias; the weight meets x while the root is taken."""
    yield from masked(x)
    inverse, scaled = yield from together(_inverse_deviation(x, eps, variance), _weighted(x, weight))
    raw = yield from product(scaled, inverse, "mul", bound)
    return (yield from usual(raw if bias is None else (yield from added(raw, bias, 1))))


def _inverse_deviation(x: Shared, eps: float, variance: Range) -> Protocol[Shared]:
    """Return (mean(x^2) + eps)^(-1/2) over the last dim.

    The sum is divided by a power of two only, and what is left of its length, in [1, 2), is left to the inverse: a
    factor of 16 bits would take the room in which a variance beyond its range is seen.
    """
    halvings = x.shape[-1].bit_length() - 1
    rest = x.shape[-1] / (1 << halvings)
    low, high = variance[0] * rest, variance[1] * rest
    total = yield from sum_of_squares(x)
    bits = result_bits(high)
    mean = yield from truncate(Shared(total.share, total.frac_bits + halvings), bits)
    offset = round(eps * rest * (1 << bits))
    moved = mean.share + offset if current().rank == 0 else mean.share
    shifted = Shared(moved, bits, [wire.moved(offset) for wire in mean.wires])
    precision = min(result_bits(variance[0] ** -0.5), max(LEAST_INVERSE_BITS, 2 * current().frac_bits - x.frac_bits))
    return (yield from inverse_root(shifted, low, high, precision, rest))


LEAST_INVERSE_BITS = 12


def _weighted(x: Shared, weight: Value | None) -> Protocol[Shared]:
    """Return x, or x times the weight at the same fractional bits."""
    if weight is None:
        return x
    if isinstance(weight, StaticWeight):
        raw = yield from static_product(x, weight, "mul")
    elif isinstance(weight, Secret):
        raw = yield from product(x, secret(weight), "mul")
    else:
        bits = current().frac_bits
        raw = Shared(x.share * fixed(weight, bits), x.frac_bits + bits)
    return (yield from truncate(raw, x.frac_bits))
