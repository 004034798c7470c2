"""Functions of one variable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpccompile.runtime import checks, compare
from mpccompile.runtime.compare import NARROW_BITS
from mpccompile.runtime.functions.values import Range, Secret, usual
from mpccompile.runtime.inverse import reciprocal as invert
from mpccompile.runtime.inverse import result_bits
from mpccompile.runtime.inverse import rsqrt as inverse_root
from mpccompile.runtime.openings import RING_BITS
from mpccompile.runtime.party import Protocol, current
from mpccompile.runtime.series import evaluate, expect_range, fit, precision_for
from mpccompile.runtime.statements import private_function

if TYPE_CHECKING:
    from mpccompile.runtime.shared import Shared


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
def argmax(x: Secret, *, within: float | None = None) -> Protocol[Shared]:
    """Place of the first of the largest of the last dim, as a shared integer; ``within`` bounds the absolute values.

    Values are compared as they are in fixed point: two that differ by less than a unit of it count as the same.
    """
    value = yield from usual(x)
    fits = within is not None and 2 * within * (1 << value.frac_bits) < 1 << (NARROW_BITS - 1)
    place = yield from compare.place_of_largest(value, NARROW_BITS if fits else RING_BITS)
    return (yield from usual(place))


@private_function
def reciprocal(x: Secret, *, scope: Range) -> Protocol[Shared]:
    """1 / x on a positive calibrated range."""
    value = yield from usual(x)
    expect_range("reciprocal", *scope)
    result = yield from invert(value, scope[0], scope[1], result_bits(1 / scope[0]))
    return (yield from usual(result)) if result.frac_bits > current().frac_bits else result


@private_function
def rsqrt(x: Secret, *, scope: Range) -> Protocol[Shared]:
    """x^(-1/2) on a positive calibrated range."""
    value = yield from usual(x)
    expect_range("rsqrt", *scope)
    result = yield from inverse_root(value, scope[0], scope[1], result_bits(scope[0] ** -0.5))
    return (yield from usual(result)) if result.frac_bits > current().frac_bits else result
