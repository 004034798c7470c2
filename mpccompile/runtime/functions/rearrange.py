"""Rearrangements of elements; none sends anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from mpccompile.runtime import views
from mpccompile.runtime.functions.values import Secret, Value, fixed, raised_to, secret
from mpccompile.runtime.openings import RING_BITS, draw, shared_view
from mpccompile.runtime.party import Protocol, current, together
from mpccompile.runtime.resident import keep
from mpccompile.runtime.shared import ClientValue, Kept, Shared, Wire
from mpccompile.runtime.statements import private_function


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
    """Concatenate secrets (and public tensors among them); no message, unless rows follow those that stay.

    What stays is open under its masks already. So are the rows that follow it then, and all of it together.
    """
    first = xs[0]
    if isinstance(first, Shared) and first.kept is not None and all(isinstance(x, Shared) for x in xs[1:]):
        return (yield from _with_rows(first, first.kept, cast("Sequence[Shared]", xs[1:]), dim))
    bits = max(secret(x).frac_bits for x in xs if isinstance(x, Secret))
    shares = []
    for x in xs:
        if isinstance(x, Secret):
            shares.append(raised_to(secret(x), bits).share)
        else:
            public = fixed(x, bits)
            shares.append(public if current().rank == 0 else torch.zeros_like(public))
    width = min(raised_to(secret(x), bits).bits for x in xs if isinstance(x, Secret))
    return Shared(torch.cat(shares, dim), bits, bits=width)
    yield ()


def _with_rows(held: Shared, kept: Kept, new: Sequence[Shared], dim: int) -> Protocol[Shared]:
    rows = yield from together(*(keep(x, kept.name, held.frac_bits) for x in new))
    wires = [kept.wire, *(x.kept.wire for x in rows)]
    share = torch.cat([held.share, *(x.share for x in rows)], dim)
    mask = draw("concat", share.shape, *(wire.mask for wire in wires), params=(dim,))
    return Shared(
        share, held.frac_bits, [Wire(torch.cat([w.delta for w in wires], dim), mask, RING_BITS, held.frac_bits)]
    )


@private_function
def gather_rows(x: Secret, dim: int, index: Tensor) -> Protocol[Shared]:
    """Rows at public indices; no message."""
    value = secret(x)
    return Shared(torch.index_select(value.share, dim, index.to(value.share.device)), value.frac_bits)
    yield ()
