"""Products with weights and between secrets."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mpccompile.errors import MpcCompileError
from mpccompile.runtime import ring
from mpccompile.runtime.functions.values import Secret, Value, added, fixed, secret, size_of, usual
from mpccompile.runtime.openings import RING_BITS, shared_view, truncate
from mpccompile.runtime.party import Protocol, current, together
from mpccompile.runtime.products import apply_static, needed_bits, open_one_hot, product, static_product
from mpccompile.runtime.secret_places import one_hot, picked_rows
from mpccompile.runtime.shared import ClientValue, Shared, StaticWeight
from mpccompile.runtime.statements import private_function


@private_function
def linear(
    x: Value, weight: Secret, bias: Secret | None = None, *, bound: float | None = None, last: bool = False
) -> Protocol[Shared]:
    """Return ``x @ weight.T + bias``; with a static weight only x is opened, and with a public x nothing.

    ``last`` says that no product reads the result, so that nothing need be kept for one.
    """
    if not isinstance(x, Secret):
        return (yield from _public_linear(x, secret(weight), bias))
    value = yield from usual(x)
    if isinstance(weight, StaticWeight):
        raw = yield from static_product(value, weight, "linear", bound, last=last)
    else:
        raw = yield from product(value, shared_view(secret(weight), "permute", (1, 0)), "matmul", bound)
    if bias is not None:
        raw = yield from added(raw, bias, 1)
    return (yield from usual(raw))


def _public_linear(x: Tensor | float, weight: Shared, bias: Secret | None) -> Protocol[Shared]:
    bits = current().frac_bits
    share = ring.matmul(fixed(x, bits), weight.share.transpose(-1, -2).contiguous())
    raw = Shared(share, bits + weight.frac_bits)
    return (yield from usual(raw if bias is None else (yield from added(raw, bias, 1))))


@private_function
def matmul(x: Value, y: Value, *, bound: float | None = None) -> Protocol[Shared]:
    """Batched matrix product of two secrets, or of a secret and a public matrix."""
    bits = current().frac_bits
    if not isinstance(x, Secret):
        right = yield from usual(y)
        raw = Shared(ring.matmul(fixed(x, bits), right.share), right.frac_bits + bits)
    elif not isinstance(y, Secret):
        left = yield from usual(x)
        raw = Shared(ring.matmul(left.share, fixed(y, bits)), left.frac_bits + bits)
    else:
        left, right = yield from together(usual(x), usual(y))
        raw = yield from product(left, right, "matmul", bound)
    return (yield from usual(raw))


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
    flat = shared_view(patches, "reshape", (batch, rows * columns, size_of(patches.shape[3:])))
    raw = yield from static_product(flat, weight, "linear")
    if bias is not None:
        raw = yield from added(raw, bias, 1)
    result = yield from usual(raw)
    result = shared_view(result, "permute", (0, 2, 1))
    return shared_view(result, "reshape", (batch, weight.shape[0], rows, columns))


@private_function
def embedding(
    ids: ClientValue | Shared | Tensor, weight: StaticWeight | Tensor, *, bound: float | None = None
) -> Protocol[Shared]:
    """Rows of a table: at public ids a local lookup, at secret ids a masked one-hot product.

    In a public table the client looks its ids up itself, and the rows are its share; of ids that nobody knows the
    one-hot rows are multiplied locally.
    """
    if isinstance(ids, Shared):
        return (yield from _rows_at(ids, weight, bound))
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


def _rows_at(ids: Shared, weight: StaticWeight | Tensor, bound: float | None) -> Protocol[Shared]:
    if isinstance(weight, Tensor):
        bits = current().frac_bits
        rows = yield from one_hot(ids, weight.shape[0], RING_BITS)
        return Shared(ring.matmul(rows.share, fixed(weight, bits)), bits)
    bits = needed_bits(weight.frac_bits, TABLE_BOUND if bound is None else bound)
    rows = yield from one_hot(ids, weight.shape[0], bits)
    raw = yield from picked_rows(rows, weight, bits)
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
