"""The protocols that generated programs call: one for each operation of the compiler's vocabulary, same arguments.

A value is a :class:`Shared` (secret), a :class:`StaticWeight` (a weight of rank 0), a :class:`ClientValue` (integers
only rank 1 knows) or a torch tensor or number (public). Calibrated ranges come in as keyword arguments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpccompile.runtime import checks
from mpccompile.runtime.crypten_bridge import from_crypten, to_crypten
from mpccompile.runtime.functions.arithmetic import (
    add,
    mean,
    mul,
    neg,
    quadratic,
    square,
    sub,
    sum,  # noqa: A004 - named as in ir.ops
    where,
)
from mpccompile.runtime.functions.attention import attend, softmax
from mpccompile.runtime.functions.curves import argmax, exp, gelu, reciprocal, relu, rsqrt, sigmoid, silu, tanh
from mpccompile.runtime.functions.linear import conv2d, embedding, linear, matmul
from mpccompile.runtime.functions.norms import layer_norm, rms_norm
from mpccompile.runtime.functions.pooling import avg_pool2d, max_pool2d
from mpccompile.runtime.functions.rearrange import concat, expand, gather_rows, permute, reshape, take
from mpccompile.runtime.row_weights import SoftmaxRange
from mpccompile.runtime.statements import private_function
from mpccompile.runtime.statements import side_by_side as together

if TYPE_CHECKING:
    from mpccompile.runtime.party import Protocol

__all__ = [
    "SoftmaxRange",
    "add",
    "argmax",
    "attend",
    "avg_pool2d",
    "check_ranges",
    "concat",
    "conv2d",
    "embedding",
    "exp",
    "expand",
    "from_crypten",
    "gather_rows",
    "gelu",
    "layer_norm",
    "linear",
    "matmul",
    "max_pool2d",
    "mean",
    "mul",
    "neg",
    "permute",
    "quadratic",
    "reciprocal",
    "relu",
    "reshape",
    "rms_norm",
    "rsqrt",
    "sigmoid",
    "silu",
    "softmax",
    "square",
    "sub",
    "sum",
    "take",
    "tanh",
    "to_crypten",
    "together",
    "where",
]


@private_function
def check_ranges() -> Protocol[None]:
    """Open whether every value of this call stayed in its calibrated range; the last statement of a program."""
    yield from checks.finish()
