"""Opening values under fresh masks, and truncating them: every protocol is built on these two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from mpccompile.errors import MpcCompileError
from mpccompile.runtime import ring
from mpccompile.runtime.kernels import compiled
from mpccompile.runtime.party import Opening, Protocol, current, together
from mpccompile.runtime.plan import Step
from mpccompile.runtime.shared import Arrival, Mask, Shared, Wire
from mpccompile.runtime.views import view

RING_BITS = 64
HEADROOM_BITS = 3
"""A truncated value lies in [-2^(m-3), 2^(m-3)), so that its shift by 2^(m-3) never wraps past the top bit."""


def draw(kind: str, shape: Sequence[int], *sources: Mask, params: tuple[Any, ...] = (), weight: str = "") -> Mask:
    """Take the next piece of correlated randomness of the plan."""
    keys = tuple(source.key for source in sources)
    return current().draw(Step(kind, tuple(int(size) for size in shape), keys, params, weight))


def shared_view(x: Shared, name: str, *params: Any) -> Shared:
    """Rearrange a secret tensor, and its masked openings with it, without any message."""
    share = view(name, x.share, params)
    frozen = tuple(tuple(p) if isinstance(p, list | tuple) else p for p in params)
    wires = []
    for wire in x.wires:
        mask = draw("view", tuple(share.shape), wire.mask, params=(name, *frozen))
        wires.append(Wire(view(name, wire.delta, params), mask, wire.bits, wire.frac_bits))
    return Shared(share, x.frac_bits, wires)


def masked(x: Shared, bits: int = RING_BITS) -> Protocol[Wire]:
    """Open ``x`` under a mask modulo 2^bits, or return the wire it has, or will have when this round is over.

    The mask is uniform modulo 2^64, hence modulo 2^bits, and used for nothing else, so what travels is uniform. Above
    the ring that the shares are right in, their sum tells about the masks of the operands they come from.
    """
    width = x.width(bits)
    if width in x.opening:
        yield ()
    elif width is None:
        yield (_mask_opening(x, bits),)
    wire = x.wire(bits)
    assert wire is not None  # noqa: S101 - narrows the type; the round that is over brought it
    return wire


def _mask_opening(x: Shared, bits: int) -> Opening:
    if bits > x.bits:
        raise MpcCompileError(f"shares that are right modulo 2^{x.bits} cannot be opened modulo 2^{bits}")
    mask = draw("mask", x.shape)

    def land(delta: Tensor) -> None:
        x.opening.discard(bits)
        x.wires.append(Wire(delta, mask, bits, x.frac_bits))

    x.opening.add(bits)
    return Opening(x.share, bits, mask=mask.share, land=land)


def truncate(x: Shared, frac_bits: int) -> Protocol[Shared]:
    """Bring a value down to ``frac_bits`` fractional bits, with no chance of a wrap-around.

    With z = value + 2^(m-3) in [0, 2^(m-2)) and Z = z + r mod 2^m opened, r uniform: the sum wrapped exactly when r's
    top bit is set and Z's is not, so (Z >> s) - (r >> s) + [top(r)] (1 - top(Z)) 2^(m-s) is z >> s or one more. It is
    one more as often as the bits taken off say, because those of r are uniform: the error is below one unit in the
    last place, and zero on average. Modulo 2^(m-s) the carry vanishes, so the opening doubles as a masked opening of
    the result.

    Where the party truncates locally, each shifts its own share of a full word. That is right, within one unit, unless
    the shares add up beyond the ring, which they do with probability |z| / 2^64 for a value of z units: then the result
    is off by 2^(64-s) units. A narrow ring has no room for that, nor has a value with more fractional bits than a
    product has, such as a series in fine fixed point: those are truncated exactly all the same.

    Args:
        x: A secret with |x| < 2^(m - 3 - x.frac_bits), m = x.bits; the result's shares are right modulo 2^64.
        frac_bits: Fractional bits of the result; already there, nothing happens, and more are zeros put behind.
    """
    drop, bits = x.frac_bits - frac_bits, x.bits
    if drop == 0 and bits == RING_BITS:
        return x
    if drop < 0:
        return Shared(x.share << -drop, frac_bits, bits=min(RING_BITS, bits - drop))
    if frac_bits not in x.truncated:
        if _is_local(x):
            x.truncated[frac_bits] = arrival = Arrival(
                lambda share: Shared(current().truncated_alone(share, drop), frac_bits)
            )
            arrival.land(x.share)
        else:
            yield (_truncation(x, frac_bits),)
    elif not x.truncated[frac_bits].landed:
        yield ()
    return x.truncated[frac_bits].result()


def _is_local(x: Shared) -> bool:
    party = current()
    return party.truncation == "local" and x.bits == RING_BITS and x.frac_bits <= 2 * party.frac_bits


def _truncation(x: Shared, frac_bits: int) -> Opening:
    drop, bits = x.frac_bits - frac_bits, x.bits
    keep = bits - drop
    mask = draw("mask", x.shape)
    high = draw("shift", x.shape, mask, params=(bits, drop))
    top = draw("top_bit", x.shape, mask, params=(bits, RING_BITS - keep)) if keep < RING_BITS else None

    def finish(opened: Tensor) -> Shared:
        return _quotient(opened, high, top, bits, drop, frac_bits)

    arrival = x.truncated[frac_bits] = Arrival(finish)
    offset = _offset(bits) if current().rank == 0 else 0
    return Opening(x.share, bits, mask=mask.share, offset=offset, land=arrival.land)


def _offset(bits: int) -> int:
    return 1 << (bits - HEADROOM_BITS)


def _quotient(opened: Tensor, high: Mask, top: Mask | None, bits: int, drop: int, frac_bits: int) -> Shared:
    keep, rank, offset = bits - drop, current().rank, _offset(bits) >> drop
    if compiled.serves(opened):
        carry = None if top is None else top.share
        public, share = compiled.quotient(opened, high.share, carry, bits, drop, offset, rank)
        return Shared(share, frac_bits, [Wire(public, high, keep, frac_bits)])
    public = ring.logical_shift_right(opened, drop) - offset
    share = -high.share
    if top is not None:
        no_top = 1 - (ring.logical_shift_right(opened, bits - 1) & 1)
        share = share + ((no_top * top.share) << keep)
    return Shared(share + public if rank == 0 else share, frac_bits, [Wire(public, high, keep, frac_bits)])


def open_masks(*values: tuple[Shared, int]) -> Protocol[tuple[Wire, ...]]:
    """Open several values, each at its width, in one round."""
    wires = yield from together(*(masked(value, bits) for value, bits in values))
    return wires
