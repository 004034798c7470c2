"""Products of secrets from masked openings (Beaver), and products with static weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

import torch
from torch import Tensor

from mpccompile.errors import InputError
from mpccompile.runtime import ring
from mpccompile.runtime.openings import HEADROOM_BITS, RING_BITS, draw, open_masks
from mpccompile.runtime.party import Opening, Protocol, current
from mpccompile.runtime.shared import ClientValue, Shared, StaticWeight, Wire

Bilinear = Callable[[Tensor, Tensor], Tensor]


def _elementwise(a: Tensor, b: Tensor) -> Tensor:
    return a * b


def _matrix(a: Tensor, b: Tensor) -> Tensor:
    return ring.matmul(a, b)


BILINEAR: dict[str, Bilinear] = {"mul": _elementwise, "matmul": _matrix}


def needed_bits(frac_bits: int, bound: float | None) -> int:
    """Return the width of the ring that holds a product of that many fractional bits before truncation.

    Args:
        frac_bits: Fractional bits of the product.
        bound: What its absolute value is proven to stay below; None when nothing is known.
    """
    if bound is None:
        return RING_BITS
    bits = frac_bits + HEADROOM_BITS + math.ceil(math.log2(bound))
    return min(RING_BITS, -(-bits // PACKED_BITS) * PACKED_BITS)


PACKED_BITS = 8
"""Ring widths are whole bytes: a 43-bit value would save a byte in nine, and takes four times as long to pack."""


REUSE_FACTOR = 2
"""A product of narrow wires saves opening its operands in 8 bytes, and costs 4 bytes an element of the result: its
truncation takes 6 instead of 8 but leaves 32 bits only, so the next operation opens 6 again."""


def operands(x: Shared, y: Shared, result_shape: tuple[int, ...], bound: float | None) -> Protocol[tuple[Wire, Wire]]:
    """Open what is not open yet of two operands of a product.

    A truncation leaves a wire of its own ring less the bits it dropped, mostly 48; it serves when the product is proven
    to fit. A value that has to be opened is opened at the width of its partner, or in full, so that the truncation of
    the product leaves a wide wire in turn.
    """
    need = needed_bits(x.frac_bits + y.frac_bits, bound)
    if math.prod(result_shape) > REUSE_FACTOR * (math.prod(x.shape) + math.prod(y.shape)):
        need = RING_BITS
    left, right = x.width(need), y.width(need)
    width = min((bits for bits in (left, right) if bits), default=RING_BITS)
    opened = yield from open_masks((x, width if left is None else need), (y, width if right is None else need))
    return opened[0], opened[1]


def product(x: Shared, y: Shared, kind: str, bound: float | None = None) -> Protocol[Shared]:
    """Multiply two secrets: (X - a)(Y - b) with X and Y public, a and b masks, [ab] dealt.

    Each operand is opened at most once, however many products it enters. The result holds the sum of the fractional
    bits and is not truncated.

    Args:
        x: Left operand.
        y: Right operand.
        kind: ``"mul"`` element by element with broadcasting, ``"matmul"`` as torch.matmul.
        bound: What the result's absolute value is proven to stay below.
    """
    left, right = yield from operands(x, y, _result_shape(x.shape, y.shape, kind), bound)
    return wire_product(left, right, kind)


def wire_product(left: Wire, right: Wire, kind: str) -> Shared:
    """Multiply two opened wires, locally."""
    multiply = BILINEAR[kind]
    a, b = left.mask, right.mask
    shape = _result_shape(tuple(a.share.shape), tuple(b.share.shape), kind)
    both = draw(kind, shape, a, b)
    if current().rank == 0:
        share = multiply(left.delta, right.delta - b.share) - multiply(a.share, right.delta) + both.share
    else:
        share = both.share - multiply(left.delta, b.share) - multiply(a.share, right.delta)
    return Shared(share, left.frac_bits + right.frac_bits, bits=min(left.bits, right.bits))


def _result_shape(left: tuple[int, ...], right: tuple[int, ...], kind: str) -> tuple[int, ...]:
    if kind == "mul":
        return tuple(torch.broadcast_shapes(left, right))
    return (*torch.broadcast_shapes(left[:-2], right[:-2]), left[-2], right[-1])


def square(x: Shared) -> Protocol[Shared]:
    """Square a secret for one opening."""
    (wire,) = yield from open_masks((x, RING_BITS))
    return wire_product(wire, wire, "mul")


def sum_of_squares(x: Shared) -> Protocol[Shared]:
    """Sum the squares over the last dim, kept as size 1; only row sums of the correlation are dealt."""
    (wire,) = yield from open_masks((x, RING_BITS))
    mask = wire.mask
    both = draw("sum_square", (*mask.share.shape[:-1], 1), mask)
    cross = wire.delta * mask.share * 2
    if current().rank == 0:
        return Shared(both.share + (wire.delta * wire.delta - cross).sum(-1, keepdim=True), 2 * x.frac_bits)
    return Shared(both.share - cross.sum(-1, keepdim=True), 2 * x.frac_bits)


def static_product(
    x: Shared | ClientValue, weight: StaticWeight, kind: str, bound: float | None = None, *, last: bool = False
) -> Protocol[Shared]:
    """Multiply a secret by a weight that rank 0 owns: only the secret is opened.

    With X = x + a public, x W = X W - a W. Rank 0 knows W; the shares of a W are made offline from W - B, which rank 1
    learnt once, and the dealer's a B. So rank 0 multiplies once with the weight's own few bits, and rank 1 not at all.

    Args:
        x: Left operand [..., K], or the client's integers (a one-hot matrix) which only rank 1 masks and sends.
        weight: The static weight; ``"linear"`` takes it as [N, K].
        kind: ``"linear"`` for ``x @ weight.T``, ``"mul"`` element by element with broadcasting.
        bound: What the result's absolute value is proven to stay below.
        last: Whether no product reads the result, so that a wide wire of it would serve nobody.
    """
    if isinstance(x, ClientValue):
        wire = yield from _open_to_owner(x, RING_BITS)
    else:
        need = needed_bits(x.frac_bits + weight.frac_bits, bound)
        grows = math.prod(_static_shape(x.shape, weight.shape, kind)) > math.prod(x.shape)
        if grows and not last:
            need = RING_BITS
        (wire,) = yield from open_masks((x, need if last or x.width(need) else RING_BITS))
    result = apply_static(wire, weight, kind)
    if last and isinstance(x, Shared):
        result.bits = min(result.bits, needed_bits(result.frac_bits, bound))
    return result


def _open_to_owner(x: ClientValue, bits: int) -> Protocol[Wire]:
    mask = draw("client_mask", x.shape)
    (delta,) = yield (Opening(x.plain, bits, to=0, mask=mask.share, held=current().rank == 1),)
    return Wire(delta, mask, bits, 0)


def _valid(ids: Tensor, classes: int) -> Tensor:
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < classes:
        raise InputError(
            f"an id is outside the table of {classes} rows",
            hint="Use the tokenizer that belongs to the model.",
        )
    return ids


def open_one_hot(ids: ClientValue, classes: int, bits: int) -> Protocol[Wire]:
    """Send rank 0 the masked one-hot rows of the client's ids [...]; the wire has shape [..., classes].

    Raises:
        InputError: At rank 1, if an id is no row of the table.
    """
    mask = draw("client_mask", (*ids.shape, classes))
    held = current().rank == 1
    share = mask.share
    if held:
        index = _valid(ids.plain, classes).unsqueeze(-1)
        share = share.scatter_add(-1, index, torch.ones_like(index))
    (delta,) = yield (Opening(share, bits, to=0, held=held),)
    return Wire(delta, mask, bits, 0)


def apply_static(wire: Wire, weight: StaticWeight, kind: str) -> Shared:
    """Multiply an opened wire by a static weight, locally; shares are right modulo 2^wire.bits."""
    shape = _static_shape(tuple(wire.mask.share.shape), weight.shape, kind)
    masked_part = draw("static", shape, wire.mask, params=(kind, wire.bits), weight=weight.name)
    share = -masked_part.share
    if current().rank == 0:
        share = share + multiply_static(wire.delta, weight, kind, wire.bits)
    return Shared(share, wire.frac_bits + weight.frac_bits, bits=wire.bits)


def _static_shape(left: tuple[int, ...], weight: tuple[int, ...], kind: str) -> tuple[int, ...]:
    if kind == "mul":
        return tuple(torch.broadcast_shapes(left, weight))
    rows = weight[1] if kind == "rows" else weight[0]
    return (*left[:-1], rows)


def multiply_static(left: Tensor, weight: StaticWeight, kind: str, bits: int) -> Tensor:
    """Multiply by whatever of the weight this party holds: rank 0 the weight, rank 1 the difference.

    Args:
        left: int64 [..., K], or any shape that broadcasts for ``"mul"``.
        weight: The static weight.
        kind: ``"linear"`` (weight is [N, K], or [N, ...] flattened), ``"rows"`` (weight is [K, N]) or ``"mul"``.
        bits: Ring width.
    """
    if kind == "mul":
        return left * weight.plain
    flat = left.reshape(-1, left.shape[-1])
    return ring.matmul(flat, _operand(weight, kind, bits), ring_bits=bits).reshape(*left.shape[:-1], -1)


def _operand(weight: StaticWeight, kind: str, bits: int) -> ring.Operand:
    key = f"{kind}:{bits}"
    if key not in weight.operands:
        matrix = weight.plain if kind == "rows" else weight.plain.flatten(1).transpose(-1, -2)
        weight.operands[key] = ring.prepare(matrix, known_bits_of(weight.plain), bits)
    operand: ring.Operand = weight.operands[key]
    return operand


def prepared(weight: StaticWeight, uses: Collection[tuple[str, int]]) -> StaticWeight:
    """Return the weight with an operand ready for each use, (kind, bits), and nothing else if that is all it takes.

    Rank 1's differences are as many bytes as the whole model at 64 bits; a second copy of them would be the largest
    thing in its memory.
    """
    matrices = [(kind, bits) for kind, bits in uses if kind != "mul"]
    for kind, bits in matrices:
        _operand(weight, kind, bits)
    if len(matrices) < len(uses):
        return weight
    nothing = torch.zeros((), dtype=torch.int64, device=weight.plain.device).expand(weight.shape)
    return StaticWeight(weight.name, nothing, weight.frac_bits, weight.operands)


def known_bits_of(values: Tensor) -> int | None:
    """Return the width of the widest signed integer in ``values``, or None when unknown (shapes only)."""
    if values.device.type == "meta" or values.numel() == 0:
        return None
    largest = max(int(values.max()), -int(values.min()) - 1, 0)
    return largest.bit_length() + 1
