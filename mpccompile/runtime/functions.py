"""The protocols that generated programs call: one for each operation of the compiler's vocabulary, same arguments.

A value is a :class:`Shared` (secret), a :class:`StaticWeight` (a weight of rank 0), a :class:`ClientValue` (integers only
rank 1 knows) or a torch tensor or number (public). Calibrated ranges come in as keyword arguments.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mpccompile.errors import MpcCompileError
from mpccompile.runtime import checks, compare, ring, views
from mpccompile.runtime.crypten_bridge import from_crypten, to_crypten
from mpccompile.runtime.inverse import result_bits
from mpccompile.runtime.inverse import reciprocal as invert
from mpccompile.runtime.inverse import rsqrt as inverse_root
from mpccompile.runtime.openings import masked, shared_view, truncate
from mpccompile.runtime.party import Protocol, current, private_function, together
from mpccompile.runtime.products import needed_bits, apply_static, open_one_hot, product, static_product, sum_of_squares
from mpccompile.runtime.products import square as squared
from mpccompile.runtime.series import evaluate, fit, precision_for
from mpccompile.runtime.shared import ClientValue, Shared, StaticWeight, Wire
from mpccompile.runtime.softmax import SoftmaxRange
from mpccompile.runtime.softmax import attend as mixed_values
from mpccompile.runtime.softmax import softmax as shifted_softmax

Secret = Shared | StaticWeight | ClientValue
"""Values of which a party holds a share; instances of CrypTensor come in through :func:`from_crypten`."""
Value = Secret | Tensor | float | int
Range = tuple[float, float]

__all__ = ["SoftmaxRange", "from_crypten", "to_crypten", "together"]


def secret(x: Value) -> Shared:
    """Return a value as a sharing: of a weight rank 1's share is zero, of the client's integers rank 0's is."""
    if isinstance(x, Shared):
        return x
    if isinstance(x, ClientValue):
        return Shared(x.plain, 0)
    if isinstance(x, StaticWeight):
        return Shared(x.plain, x.frac_bits)
    raise MpcCompileError(f"expected a secret value, found {type(x).__name__}")


def _fixed(x: Tensor | float, frac_bits: int) -> Tensor:
    """Return a public value as fixed point on the party's device (a shape only, while planning)."""
    party = current()
    tensor = torch.as_tensor(x)
    if party.device.type == "meta" or tensor.device.type == "meta":
        return torch.empty(tensor.shape, dtype=torch.int64, device="meta")
    return ring.encode(tensor.to(party.device), frac_bits)


def _is_whole(x: Tensor | float) -> bool:
    """Say whether a public factor is integer by type, so that multiplying adds no fractional bits."""
    return isinstance(x, int) or (isinstance(x, Tensor) and not x.is_floating_point())


def aligned(x: Shared, y: Shared) -> tuple[Shared, Shared]:
    """Bring two secrets to the larger number of fractional bits, exactly."""
    bits = max(x.frac_bits, y.frac_bits)
    return _raise_to(x, bits), _raise_to(y, bits)


def _raise_to(x: Shared, frac_bits: int) -> Shared:
    return x if x.frac_bits == frac_bits else Shared(x.share << (frac_bits - x.frac_bits), frac_bits)


def usual(x: Value) -> Protocol[Shared]:
    """Return a secret at the program's fractional bits, truncated once however many operations ask."""
    value = secret(x)
    if value.frac_bits <= current().frac_bits:
        return value
    return (yield from truncate(value, current().frac_bits))


def _add(x: Value, y: Value, sign: int) -> Protocol[Shared]:
    if isinstance(x, Secret) and isinstance(y, Secret):
        left, right = aligned(secret(x), secret(y))
        return Shared(left.share + sign * right.share, left.frac_bits, bits=min(left.bits, right.bits))
    if isinstance(x, Secret):
        left = secret(x)
        public = _fixed(y, left.frac_bits)
        shape = torch.broadcast_shapes(left.shape, public.shape)
        moved = sign * public if current().rank == 0 else torch.zeros_like(public)
        return Shared((left.share + moved).expand(shape), left.frac_bits, bits=left.bits)
    return (yield from _add(Shared(sign * secret(y).share, secret(y).frac_bits), x, 1))


@private_function
def add(x: Value, y: Value) -> Protocol[Shared]:
    """Add; no message."""
    return (yield from _add(x, y, 1))


@private_function
def sub(x: Value, y: Value) -> Protocol[Shared]:
    """Subtract; no message."""
    return (yield from _add(x, y, -1))


@private_function
def neg(x: Secret) -> Protocol[Shared]:
    """Negate; no message."""
    value = secret(x)
    return Shared(-value.share, value.frac_bits)
    yield ()


@private_function
def mul(x: Value, y: Value, *, bound: float | None = None, last: bool = False) -> Protocol[Shared]:
    """Multiply element by element; a public factor costs no opening until the result is truncated.

    ``bound``, here and below, is what the result's absolute value is proven to stay below: it lets a product use the
    masked openings that truncations leave, in a narrower ring. ``last`` says that no product reads the result, so that
    no wide opening of it need be left in turn.
    """
    return (yield from _times(x, y, bound, last=last))


def _times(x: Value, y: Value, bound: float | None, *, last: bool) -> Protocol[Shared]:
    if not isinstance(y, Secret):
        return (yield from _scale(x, y))
    if not isinstance(x, Secret):
        return (yield from _scale(y, x))
    if isinstance(x, StaticWeight):
        x, y = y, x
    left = yield from usual(x)
    if isinstance(y, StaticWeight):
        raw = yield from static_product(left, y, "mul", bound, last=last)
    else:
        right = yield from usual(y)
        raw = yield from product(left, right, "mul", bound)
    return (yield from usual(raw))


def _scale(x: Value, factor: Tensor | float) -> Protocol[Shared]:
    if _is_whole(factor):
        value = secret(x)
        whole = torch.as_tensor(factor).to(device=value.share.device, dtype=torch.int64)
        return Shared(value.share * whole, value.frac_bits)
    value = yield from usual(x)
    return Shared(value.share * _fixed(factor, current().frac_bits), value.frac_bits + current().frac_bits)


@private_function
def square(x: Secret) -> Protocol[Shared]:
    """Square for one opening."""
    value = yield from usual(x)
    raw = yield from squared(value)
    return (yield from usual(raw))


@private_function
def linear(
    x: Secret, weight: Secret, bias: Secret | None = None, *, bound: float | None = None, last: bool = False
) -> Protocol[Shared]:
    """Return ``x @ weight.T + bias``; with a static weight only x is opened.

    ``last`` says that no product reads the result, so that nothing need be kept for one.
    """
    value = yield from usual(x)
    if isinstance(weight, StaticWeight):
        raw = yield from static_product(value, weight, "linear", bound, last=last)
    else:
        raw = yield from product(value, shared_view(secret(weight), "permute", (1, 0)), "matmul", bound)
    if bias is not None:
        raw = yield from _add(raw, bias, 1)
    return (yield from usual(raw))


@private_function
def matmul(x: Value, y: Value, *, bound: float | None = None) -> Protocol[Shared]:
    """Batched matrix product of two secrets, or of a secret and a public matrix."""
    if not isinstance(x, Secret) or not isinstance(y, Secret):
        return (yield from _public_matmul(x, y))
    left, right = yield from together(usual(x), usual(y))
    raw = yield from product(left, right, "matmul", bound)
    return (yield from usual(raw))


def _public_matmul(x: Value, y: Value) -> Protocol[Shared]:
    bits = current().frac_bits
    value = yield from usual(x if isinstance(x, Secret) else y)
    if isinstance(x, Secret):
        share = ring.matmul(value.share, _fixed(y, bits))
    else:
        share = ring.matmul(_fixed(x, bits), value.share)
    return (yield from usual(Shared(share, value.frac_bits + bits)))


@private_function
def conv2d(
    x: Secret,
    weight: StaticWeight,
    bias: Secret | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Protocol[Shared]:
    """2-D convolution as one product of the input's windows with the weight's rows."""
    if groups != 1:
        raise MpcCompileError("a convolution with groups has no private implementation")
    value = yield from usual(x)
    kernel = weight.shape[2:]
    patches = shared_view(value, "windows", tuple(kernel), tuple(stride), tuple(padding), tuple(dilation))
    batch, rows, columns = patches.shape[:3]
    flat = shared_view(patches, "reshape", (batch, rows * columns, _size(patches.shape[3:])))
    raw = yield from static_product(flat, weight, "linear")
    if bias is not None:
        raw = yield from _add(raw, bias, 1)
    result = yield from usual(raw)
    result = shared_view(result, "permute", (0, 2, 1))
    return shared_view(result, "reshape", (batch, weight.shape[0], rows, columns))


def _size(shape: Sequence[int]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


@private_function
def embedding(
    ids: ClientValue | Tensor, weight: StaticWeight | Tensor, *, bound: float | None = None
) -> Protocol[Shared]:
    """Rows of a table: at public ids a local lookup, at the client's ids a masked one-hot product.

    In a public table the client looks its ids up itself, and the rows are its share.
    """
    if isinstance(weight, Tensor):
        return _client_rows(ids, weight)
    if isinstance(ids, Tensor):
        if weight.plain.device.type == "meta":
            shape = (*ids.shape, weight.shape[1])
            return Shared(torch.empty(shape, dtype=torch.int64, device="meta"), weight.frac_bits)
        return Shared(weight.plain[ids.to(weight.plain.device)], weight.frac_bits)
    bits = needed_bits(weight.frac_bits, TABLE_BOUND if bound is None else bound)
    wire = yield from open_one_hot(ids, weight.shape[0], bits)
    raw = apply_static(wire, weight, "rows")
    return (yield from truncate(raw, weight.frac_bits))


def _client_rows(ids: ClientValue | Tensor, table: Tensor) -> Shared:
    party = current()
    index = ids.plain if isinstance(ids, ClientValue) else ids
    shape = (*index.shape, table.shape[1])
    if party.rank == 1 and table.device.type != "meta":
        return Shared(ring.encode(table[index], party.frac_bits), party.frac_bits)
    return Shared(torch.zeros(shape, dtype=torch.int64, device=party.device), party.frac_bits)


TABLE_BOUND = 2.0**13
"""Size of a table's entries when nothing is proven: a one-hot row then travels in 36 bits an entry."""


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
    mean = yield from _divided(total, value.shape[-1], value.frac_bits)
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
    return (yield from usual(raw if bias is None else (yield from _add(raw, bias, 1))))


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
    elif isinstance(weight, Shared):
        raw = yield from product(x, weight, "mul")
    else:
        bits = current().frac_bits
        raw = Shared(x.share * _fixed(weight, bits), x.frac_bits + bits)
    return (yield from truncate(raw, x.frac_bits))


def _divided(x: Shared, count: int, frac_bits: int) -> Protocol[Shared]:
    """Divide by a public count and truncate: a power of two exactly, the rest of the count by a factor of 20 bits.

    The factor takes room, so a value that has not been truncated yet is truncated twice.
    """
    halvings = count.bit_length() - 1
    rest = count / (1 << halvings)
    if rest == 1:
        return (yield from truncate(Shared(x.share, x.frac_bits + halvings), frac_bits))
    short = yield from truncate(x, min(x.frac_bits, max(frac_bits, current().frac_bits)))
    factor = round((1 << FACTOR_BITS) / rest)
    scaled = Shared(short.share * factor, short.frac_bits + halvings + FACTOR_BITS)
    return (yield from truncate(scaled, frac_bits))


FACTOR_BITS = 20


def _curve(x: Secret, name: str, scope: Range, tolerance: float) -> Protocol[Shared]:
    value = yield from usual(x)
    series = fit(name, scope[0], scope[1], tolerance, value.frac_bits)
    raw, wire = yield from evaluate(value, series, precision_for(series, tolerance))
    checks.expect_window(wire, series.origin, series.windows, series.window_bits)
    return (yield from usual(raw))


@private_function
def gelu(x: Secret, approximate: str = "none", *, scope: Range, tolerance: float) -> Protocol[Shared]:
    """GELU on the calibrated range ``scope``: x/2 plus an even series, one truncation and no opening of its own."""
    return (yield from _curve(x, "gelu_tanh" if approximate == "tanh" else "gelu", scope, tolerance))


@private_function
def silu(x: Secret, *, scope: Range, tolerance: float) -> Protocol[Shared]:
    """SiLU on the calibrated range."""
    return (yield from _curve(x, "silu", scope, tolerance))


@private_function
def tanh(x: Secret, *, scope: Range, tolerance: float) -> Protocol[Shared]:
    """Hyperbolic tangent on the calibrated range."""
    return (yield from _curve(x, "tanh", scope, tolerance))


@private_function
def sigmoid(x: Secret, *, scope: Range, tolerance: float) -> Protocol[Shared]:
    """Logistic function on the calibrated range."""
    return (yield from _curve(x, "sigmoid", scope, tolerance))


@private_function
def exp(x: Secret, *, scope: Range, tolerance: float) -> Protocol[Shared]:
    """Exponential on the calibrated range."""
    return (yield from _curve(x, "exp", scope, tolerance))


@private_function
def relu(x: Secret) -> Protocol[Shared]:
    """max(x, 0), exactly."""
    value = yield from usual(x)
    return (yield from compare.relu(value))


@private_function
def reciprocal(x: Secret, *, scope: Range) -> Protocol[Shared]:
    """1 / x on a positive calibrated range."""
    value = yield from usual(x)
    result = yield from invert(value, scope[0], scope[1], result_bits(1 / scope[0]))
    return (yield from usual(result)) if result.frac_bits > current().frac_bits else result


@private_function
def rsqrt(x: Secret, *, scope: Range) -> Protocol[Shared]:
    """x^(-1/2) on a positive calibrated range."""
    value = yield from usual(x)
    result = yield from inverse_root(value, scope[0], scope[1], result_bits(scope[0] ** -0.5))
    return (yield from usual(result)) if result.frac_bits > current().frac_bits else result


@private_function
def softmax(x: Secret, mask: Value | None = None, *, scope: SoftmaxRange, tolerance: float) -> Protocol[Shared]:
    """Softmax over the last dim; entries where the mask is False (public) or 0 (secret) get 0."""
    value = yield from usual(x)
    if isinstance(mask, Secret):
        kept = secret(mask)
        return (yield from shifted_softmax(value, shared_view(kept, "expand", value.shape), scope, tolerance))
    keep = None if mask is None else torch.as_tensor(mask)
    return (yield from shifted_softmax(value, keep, scope, tolerance))


@private_function
def attend(
    x: Secret,
    y: Secret,
    mask: Value | None = None,
    *,
    scope: SoftmaxRange,
    tolerance: float,
    bound: float | None = None,
) -> Protocol[Shared]:
    """``softmax(x, mask) @ y``, divided after the product."""
    scores, values = yield from together(usual(x), usual(y))
    if isinstance(mask, Secret):
        kept = shared_view(secret(mask), "expand", scores.shape)
        return (yield from mixed_values(scores, values, kept, scope, tolerance, bound))
    keep = None if mask is None else torch.as_tensor(mask)
    return (yield from mixed_values(scores, values, keep, scope, tolerance, bound))


@private_function
def where(mask: Tensor, x: Value, y: Value) -> Protocol[Shared]:
    """Pick by a public mask; no message."""
    keep = mask.to(torch.int64)
    sides = []
    for value, chosen in ((x, keep), (y, 1 - keep)):
        if isinstance(value, Secret):
            side = secret(value)
            sides.append(Shared(side.share * chosen.to(side.share.device), side.frac_bits))
        else:
            sides.append(torch.as_tensor(value) * chosen)
    return (yield from _add(sides[0], sides[1], 1))


@private_function
def mean(x: Secret, dims: Sequence[int], keepdim: bool = False) -> Protocol[Shared]:
    """Mean over dims; one truncation of the result."""
    value = secret(x)
    count = _size([value.shape[dim] for dim in dims])
    total = Shared(value.share.sum(tuple(dims), keepdim=keepdim), value.frac_bits)
    if count == 1:
        return total
    return (yield from _divided(total, count, current().frac_bits))


@private_function
def sum(x: Secret, dims: Sequence[int], keepdim: bool = False) -> Protocol[Shared]:  # noqa: A001 - as in ir.ops
    """Sum over dims; no message."""
    value = secret(x)
    return Shared(value.share.sum(tuple(dims), keepdim=keepdim), value.frac_bits)
    yield ()


@private_function
def max_pool2d(
    x: Secret, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int] = (0, 0)
) -> Protocol[Shared]:
    """Largest value of each window, by a tournament of comparisons; padding counts as zero only if there is none."""
    if any(padding):
        raise MpcCompileError("max_pool2d with padding has no private implementation")
    value = yield from usual(x)
    patches = views.windows(value.share, kernel, stride, padding, (1, 1))
    best = yield from compare.maximum_over_last(Shared(patches.flatten(4), value.frac_bits))
    return Shared(best.share.permute(0, 3, 1, 2), value.frac_bits)


@private_function
def avg_pool2d(
    x: Secret, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int] = (0, 0)
) -> Protocol[Shared]:
    """Mean of each window, padding counted; one truncation."""
    value = secret(x)
    patches = views.windows(value.share, kernel, stride, padding, (1, 1)).flatten(4).sum(-1)
    total = Shared(patches.permute(0, 3, 1, 2), value.frac_bits)
    return (yield from _divided(total, _size(kernel), current().frac_bits))


def _rearranged(x: Secret, name: str, *params: Any) -> Shared | ClientValue:
    """Rearrange a value; the client's integers stay the client's, so that a lookup can still use them as such."""
    if isinstance(x, ClientValue):
        return ClientValue(views.view(name, x.plain, params))
    return shared_view(secret(x), name, *params)


@private_function
def reshape(x: Secret, shape: Sequence[int]) -> Protocol[Shared | ClientValue]:
    """The same elements in another shape; no message."""
    return _rearranged(x, "reshape", tuple(shape))
    yield ()


@private_function
def permute(x: Secret, dims: Sequence[int]) -> Protocol[Shared | ClientValue]:
    """Dims in another order; no message."""
    return _rearranged(x, "permute", tuple(dims))
    yield ()


@private_function
def expand(x: Secret, shape: Sequence[int]) -> Protocol[Shared | ClientValue]:
    """Broadcast; no message."""
    return _rearranged(x, "expand", tuple(shape))
    yield ()


@private_function
def take(x: Secret, dim: int, start: int, stop: int, step: int = 1) -> Protocol[Shared | ClientValue]:
    """A slice; no message."""
    return _rearranged(x, "take", dim, start, stop, step)
    yield ()


@private_function
def concat(xs: Sequence[Value], dim: int) -> Protocol[Shared]:
    """Concatenate secrets (and public tensors among them); no message."""
    bits = max(secret(x).frac_bits for x in xs if isinstance(x, Secret))
    shares = []
    for x in xs:
        if isinstance(x, Secret):
            shares.append(_raise_to(secret(x), bits).share)
        else:
            public = _fixed(x, bits)
            shares.append(public if current().rank == 0 else torch.zeros_like(public))
    return Shared(torch.cat(shares, dim), bits)
    yield ()


@private_function
def gather_rows(x: Secret, dim: int, index: Tensor) -> Protocol[Shared]:
    """Rows at public indices; no message."""
    value = secret(x)
    return Shared(torch.index_select(value.share, dim, index.to(value.share.device)), value.frac_bits)
    yield ()


@private_function
def check_ranges() -> Protocol[None]:
    """Open whether every value of this call stayed in its calibrated range; the last statement of a program."""
    yield from checks.finish()
