"""Windows of images."""

from __future__ import annotations

from collections.abc import Sequence

from mpccompile.errors import MpcCompileError
from mpccompile.runtime import compare, views
from mpccompile.runtime.functions.values import Secret, divided, secret, size_of, usual
from mpccompile.runtime.party import Protocol, current
from mpccompile.runtime.shared import Shared
from mpccompile.runtime.statements import private_function


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
    return (yield from divided(total, size_of(kernel), current().frac_bits))
