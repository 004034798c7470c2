"""Softmax, alone and with the values it weighs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mpccompile.runtime.functions.values import Secret, Value, secret, usual
from mpccompile.runtime.openings import shared_view
from mpccompile.runtime.party import Protocol, together
from mpccompile.runtime.softmax import attend as mixed_values
from mpccompile.runtime.softmax import softmax as divided_weights
from mpccompile.runtime.statements import private_function

if TYPE_CHECKING:
    from mpccompile.runtime.row_weights import SoftmaxRange
    from mpccompile.runtime.shared import Shared


@private_function
def softmax(
    x: Secret, mask: Value | None = None, form: str = "exp", *, scope: SoftmaxRange, tolerance: float
) -> Protocol[Shared]:
    """Softmax over the last dim in one of its forms; entries where the mask is False (public) or 0 (secret) get 0."""
    value = yield from usual(x)
    return (yield from divided_weights(value, _keep(value, mask), form, scope, tolerance))


@private_function
def attend(
    x: Secret,
    y: Secret,
    mask: Value | None = None,
    form: str = "exp",
    *,
    scope: SoftmaxRange,
    tolerance: float,
    bound: float | None = None,
) -> Protocol[Shared]:
    """``softmax(x, mask, form) @ y``, divided after the product."""
    scores, values = yield from together(usual(x), usual(y))
    return (yield from mixed_values(scores, values, _keep(scores, mask), form, scope, tolerance, bound))


def _keep(scores: Shared, mask: Value | None) -> Shared | Tensor | None:
    if isinstance(mask, Secret):
        return shared_view(secret(mask), "expand", scores.shape)
    return None if mask is None else torch.as_tensor(mask)
