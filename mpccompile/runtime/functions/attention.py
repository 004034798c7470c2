"""Softmax, alone and with the values it weighs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mpccompile.runtime.functions.values import Secret, Value, secret, usual
from mpccompile.runtime.openings import shared_view
from mpccompile.runtime.party import Protocol, together
from mpccompile.runtime.softmax import SoftmaxRange
from mpccompile.runtime.softmax import attend as mixed_values
from mpccompile.runtime.softmax import softmax as shifted_softmax
from mpccompile.runtime.statements import private_function

if TYPE_CHECKING:
    from mpccompile.runtime.shared import Shared


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
