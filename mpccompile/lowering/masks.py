"""Take masked attention scores apart: finite scores that are added, and a bool mask of what is kept.

A mask arrives as -inf, or a number just as hopeless, that is added to scores or written over them. Fixed point has no
-inf and a secret softmax no use for it, so the walk below follows the scores up from the softmax and collects it.
"""

from __future__ import annotations

import math

import torch
from torch import fx

from mpccompile.ir import ops
from mpccompile.ir.rewrite import Target, is_call, target_of, value_of
from mpccompile.lowering.registry import Empty, Site, Split
from mpccompile.lowering.shape import expanded
from mpccompile.lowering.values import all_in, possible

aten = torch.ops.aten
# exp of this is 0 in float32 and in fixed point; old BERTs mask with -10000.
HOPELESS = -1e4
# float32 loses what is added to a number beyond this: a score s is below 1e4, and 2 ** 24 * 1e4 is 1.7e11.
_SWALLOWS = -2e11

_MOVES: dict[Target, Target] = {
    ops.reshape: aten.reshape.default,
    ops.permute: aten.permute.default,
    ops.take: aten.slice.Tensor,
}


def split(site: Site, scores: fx.Node) -> Split:
    """Take scores apart into finite scores and a mask; scores that hold no mask come back as they are."""
    if scores not in site.splits:
        site.splits[scores] = _split_secret(site, scores) if site.is_secret(scores) else _split_public(site, scores)
    return site.splits[scores]


def hopeless(site: Site, value: object) -> float | None:
    """Return the largest element of a value that is hopeless in every one: a number, or a public constant."""
    found: frozenset[float] | None = None
    if isinstance(value, fx.Node) and not site.is_secret(value):
        found = possible(site, value)
    elif isinstance(value, float | int):
        found = frozenset({float(value)})
    return max(found) if found and max(found) <= HOPELESS else None


def note_masked(site: Site, condition: fx.Node, x: object, y: object) -> None:
    """Remember what a ``where`` with a secret condition means, if it masks scores."""
    for least, value, keep_where in ((hopeless(site, y), x, True), (hopeless(site, x), y, False)):
        if least is not None:
            keep = condition if keep_where else negated(site, condition)
            site.splits[site.node] = Split(_finite(site, value), keep, _when_written(least))
            return


def _when_written(least: float) -> Empty:
    return Empty.MEAN if math.isfinite(least) else Empty.ZERO


def _when_added(least: float) -> Empty:
    return _when_written(least) if least < _SWALLOWS else Empty.SCORES


def negated(site: Site, mask: fx.Node) -> fx.Node:
    """Return the opposite of a bool mask, public or secret."""
    if not site.is_secret(mask):
        return site.call(aten.logical_not.default, mask)
    # torch, which says what the ops mean, subtracts no bools.
    number = site.call(ops.mul, mask, 1.0) if value_of(mask).dtype == torch.bool else mask
    return site.call(ops.sub, 1.0, number)


def both(site: Site, x: fx.Node | None, y: fx.Node | None) -> fx.Node | None:
    """Return what two masks both keep; None keeps everything."""
    if x is None or y is None:
        return y if x is None else x
    if not site.is_secret(x) and not site.is_secret(y):
        return site.call(aten.logical_and.default, x, y)
    secret, other = (x, y) if site.is_secret(x) else (y, x)
    return site.call(ops.mul, secret, other if site.is_secret(other) else as_float(site, other))


def as_float(site: Site, mask: fx.Node) -> fx.Node:
    """Return a public bool mask as 0.0 and 1.0."""
    return site.call(aten._to_copy.default, mask, dtype=torch.float32)  # noqa: SLF001 - its ATen name


def trimmed(site: Site, keep: fx.Node | None) -> fx.Node | None:
    """Return None for a mask that is known to keep everything."""
    data = site.known(keep)
    return None if data is not None and bool(data.all()) else keep


def _finite(site: Site, value: object) -> fx.Node | None:
    if isinstance(value, fx.Node):
        return None if not site.is_secret(value) and possible(site, value) == frozenset({0.0}) else value
    return site.constant("score", torch.tensor(float(value))) if isinstance(value, float | int) and value else None


def _split_public(site: Site, scores: fx.Node) -> Split:
    """Split a public additive mask, at compile time where its values are known, in plaintext at run time otherwise."""
    values = possible(site, scores)
    if values is not None and all(value > HOPELESS for value in values):
        return Split(None if values == frozenset({0.0}) else scores, None)
    keep = trimmed(site, site.call(aten.gt.Scalar, scores, HOPELESS))
    empty = _when_added(max((value for value in values or () if value <= HOPELESS), default=-math.inf))
    if all_in(values, below=HOPELESS):
        return Split(None, keep, empty)
    finite = site.call(aten.where.ScalarOther, keep, scores, 0.0) if keep is not None else scores
    data = site.known(finite)
    return Split(None if data is not None and not bool(data.any()) else finite, keep, empty)


def _split_secret(site: Site, scores: fx.Node) -> Split:
    if is_call(scores, ops.add):
        return _split_sum(site, scores)
    if is_call(scores, ops.where):
        return _split_where(site, scores)
    if is_call(scores, ops.expand, *_MOVES):
        return _split_move(site, scores)
    if is_call(scores, ops.mul):
        return _split_product(site, scores)
    return Split(scores, None)


def _split_sum(site: Site, scores: fx.Node) -> Split:
    parts = [split(site, arg) for arg in scores.args if isinstance(arg, fx.Node)]
    if len(parts) != len(scores.args) or all(part.keep is None and part.finite is not None for part in parts):
        return Split(scores, None)
    finite = [part.finite for part in parts if part.finite is not None]
    keep = both(site, parts[0].keep, parts[1].keep)
    finite.sort(key=lambda node: not site.is_secret(node))
    scored = site.call(ops.add, *finite) if len(finite) > 1 else (finite[0] if finite else None)
    return Split(scored, keep, max(part.empty for part in parts))


def _split_where(site: Site, scores: fx.Node) -> Split:
    condition, x, y = scores.args
    if not isinstance(condition, fx.Node):
        return Split(scores, None)
    for least, value, keep_where in ((hopeless(site, y), x, True), (hopeless(site, x), y, False)):
        if least is not None and isinstance(value, fx.Node):
            inner = split(site, value)
            keep = condition if keep_where else negated(site, condition)
            return Split(inner.finite, both(site, keep, inner.keep), max(_when_written(least), inner.empty))
    return Split(scores, None)


def _split_move(site: Site, scores: fx.Node) -> Split:
    """Move the mask along with the scores it belongs to."""
    source, *rest = scores.args
    if not isinstance(source, fx.Node):
        return Split(scores, None)
    inner = split(site, source)
    if inner.keep is None and inner.finite is source:
        return Split(scores, None)
    shape = site.shape(source)
    finite = inner.finite
    if finite is not None:
        finite = site.call(target_of(scores), expanded(site, finite, shape), *rest)
    keep = inner.keep
    if keep is None or is_call(scores, ops.expand):
        return Split(finite, keep, inner.empty)
    if site.is_secret(keep):
        return Split(finite, site.call(target_of(scores), expanded(site, keep, shape), *rest), inner.empty)
    wide = site.call(aten.expand.default, keep, list(shape))
    return Split(finite, site.call(_MOVES[target_of(scores)], wide, *rest), inner.empty)


def _split_product(site: Site, scores: fx.Node) -> Split:
    """A mask survives a positive factor."""
    source, factor = scores.args
    if not isinstance(source, fx.Node) or not isinstance(factor, float | int) or factor <= 0:
        return Split(scores, None)
    inner = split(site, source)
    if inner.keep is None:
        return Split(scores, None)
    finite = None if inner.finite is None else site.call(ops.mul, inner.finite, factor)
    return Split(finite, inner.keep, inner.empty)


def dtype_is_bool(site: Site, mask: fx.Node) -> bool:
    """Say whether a mask is a bool one, or a secret one that stands for bools."""
    return mask in site.booleans or value_of(mask).dtype == torch.bool
