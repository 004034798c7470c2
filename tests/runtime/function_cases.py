"""Calls of every operation, each with what its protocol may be off by at most."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from mpccompile.ir import ops
from mpccompile.runtime import functions as mpc
from mpccompile.runtime import ring
from mpccompile.runtime.shared import ClientValue, StaticWeight
from tests.runtime.pair import Call, run_call, share

FRAC_BITS = 16
UNIT = 2.0**-FRAC_BITS
EXACT = 0.0
ROUNDED = UNIT * (1 - 1e-9)
"""A truncated result is the next unit above or below the exact one."""
TOLERANCE = 1e-4
CURVE = 3 * TOLERANCE + 2 * UNIT
"""The fit keeps the tolerance, the rounding of its evaluation takes at most twice as much, truncation one unit."""
NORM = 2e-4
"""Values of 16 significant bits and an inverse to 2e-5, for results of up to 8."""
PROBABILITY = 8e-5
"""An exponential and an inverse to 2e-5 each, relatively, squared once, and units of 1.5e-5."""
FACTOR = 2.0**-20
"""A count that is no power of two divides as a factor of 20 bits."""


@dataclass(frozen=True)
class Case:
    """One call of an operation.

    Attributes:
        op: Its name.
        args: Operands: secrets, weights, client values, and whatever is public.
        kwargs: Keywords of operation and protocol.
        calibrated: Keywords of the protocol alone.
        bound: Largest absolute error.
        label: What is special about it.
    """

    op: str
    args: tuple[Any, ...]
    bound: float
    kwargs: dict[str, Any] = field(default_factory=dict)
    calibrated: dict[str, Any] = field(default_factory=dict)
    label: str = ""

    def __str__(self) -> str:
        return f"{self.op} {self.label}".strip()

    def program(self) -> Callable[..., Any]:
        protocol = getattr(mpc, self.op)

        def call(*args):
            result = protocol(*args, **self.kwargs, **self.calibrated)
            mpc.check_ranges()
            return result

        return call

    def run(self) -> Call:
        return run_call(self.program(), *(private(arg) for arg in self.args))

    def exact(self) -> torch.Tensor:
        plain = getattr(ops, self.op)(*(public(arg) for arg in self.args), **self.kwargs)
        return plain.to(torch.float64)


@dataclass(frozen=True)
class Secret:
    """A secret operand in plaintext, on the grid of fixed point."""

    plain: torch.Tensor


@dataclass(frozen=True)
class Weight:
    """A static weight in plaintext, on its grid."""

    plain: torch.Tensor
    name: str = "weight"
    frac_bits: int = FRAC_BITS


@dataclass(frozen=True)
class Ids:
    """Integers of the client."""

    plain: torch.Tensor


def public(arg: Any) -> Any:
    if isinstance(arg, list):
        return [public(item) for item in arg]
    return arg.plain if isinstance(arg, Secret | Weight | Ids) else arg


def private(arg: Any) -> Any:
    if isinstance(arg, list):
        return [private(item) for item in arg]
    if isinstance(arg, Secret):
        return share(arg.plain)
    if isinstance(arg, Weight):
        return StaticWeight(arg.name, ring.encode(arg.plain, arg.frac_bits), arg.frac_bits)
    return ClientValue(arg.plain) if isinstance(arg, Ids) else arg


def grid(x: torch.Tensor, frac_bits: int = FRAC_BITS) -> torch.Tensor:
    return torch.round(x.double() * 2.0**frac_bits) * 2.0**-frac_bits


GENERATOR = torch.Generator().manual_seed(11)


def normal(*shape: int, scale: float = 1.0) -> torch.Tensor:
    return grid(torch.randn(shape, dtype=torch.float64, generator=GENERATOR) * scale)


def spread(low: float, high: float, *shape: int) -> torch.Tensor:
    """Return values that fill a range, its ends included."""
    return grid(torch.linspace(low, high, math.prod(shape), dtype=torch.float64)).reshape(shape)


LARGE = 2.0**14 - UNIT
"""The product of two of these is just below the 2^29 that a product of 16 + 16 fractional bits may reach."""
EXTREME = grid(torch.tensor([0.0, UNIT, -UNIT, 1.0, -1.0, 0.5, 1 - UNIT, LARGE, -LARGE, 123.456, -0.001]))
HUGE = torch.tensor([0.0, UNIT, -UNIT, 2.0**45, -(2.0**45), 2.0**44 + 0.5], dtype=torch.float64)
KEEP = torch.ones(6, 6, dtype=torch.bool).tril()
EMPTY = KEEP & (torch.arange(6) != 0)[:, None]
SCOPE = mpc.SoftmaxRange(-3.0, 3.0, ((0.1, 4.0),))
HALVED = mpc.SoftmaxRange(-6.0, 6.0, ((0.1, 4.0), (0.1, 1.1)), centred=True, halvings=1)
SHORT = {"scope": SCOPE, "tolerance": 2e-5}


def arithmetic() -> list[Case]:
    x, y = Secret(normal(3, 4)), Secret(normal(3, 4))
    row, column = Secret(normal(4)), Secret(normal(3, 1))
    tensor, fine = grid(torch.randn(4, generator=GENERATOR)), torch.randn(4, generator=GENERATOR)
    whole = torch.tensor([3, -2, 0, 1])
    mask = torch.tensor([True, False, True, False])
    extreme = Secret(EXTREME)
    pair = (Secret(EXTREME[:, None]), Secret(EXTREME[None]))
    cases = [
        Case(op, (one, two), EXACT, label=label)
        for op in ("add", "sub")
        for label, one, two in [
            ("of secrets", x, y),
            ("broadcast", column, row),
            ("of a larger one", row, x),
            ("of extremes", *pair),
            ("of values near the ring's size", Secret(HUGE), Secret(HUGE.flip(0) / 2)),
            ("with a weight", x, Weight(normal(4))),
            ("of a weight", Weight(normal(4)), x),
            ("with a fine weight", x, Weight(grid(torch.randn(3, 4, generator=GENERATOR), 20), frac_bits=20)),
            ("with a tensor", x, tensor),
            ("with a larger tensor", row, normal(2, 1, 4)),
            ("with a number", x, 0.25),
            ("with an integer", x, -3),
            ("with integers", x, whole),
        ]
    ]
    cases += [
        Case("sub", (one, x), EXACT, label=label) for label, one in [("from a number", 1.5), ("from a tensor", tensor)]
    ]
    cases += [
        Case("neg", (Secret(torch.cat([EXTREME, HUGE])),), EXACT),
        Case("mul", (x, y), ROUNDED, label="of secrets"),
        Case("mul", (column, row), ROUNDED, label="broadcast"),
        Case("mul", pair, ROUNDED, label="of extremes"),
        Case("mul", (x, Weight(normal(4))), ROUNDED, label="with a weight"),
        Case("mul", (Weight(normal(3, 1)), row), ROUNDED, label="of a weight"),
        Case("mul", (Weight(normal(3, 1), "one"), Weight(normal(4), "two")), ROUNDED, label="of weights"),
        Case("mul", (x, tensor), EXACT, label="with a tensor"),
        Case("mul", (extreme, 0.375), EXACT, label="with a number"),
        Case("mul", (0.375, extreme), EXACT, label="of a number"),
        Case("mul", (Secret(HUGE), -2), EXACT, label="with an integer"),
        Case("mul", (x, whole), EXACT, label="with integers"),
        Case("mul", (x, fine), 5 * UNIT / 2, label="with a tensor off the grid"),
        Case("mul", (x, 1 / 3), 5 * UNIT / 2, label="with a number off the grid"),
        Case("mul", (x, y), ROUNDED, calibrated={"bound": 16.0}, label="of secrets in a narrow ring"),
        Case("mul", pair, ROUNDED, calibrated={"bound": 2.0**28}, label="of extremes within their bound"),
        Case("mul", (x, Weight(normal(4))), ROUNDED, calibrated={"bound": 16.0, "last": True}, label="last"),
        Case("square", (extreme,), ROUNDED),
    ]
    cases += [
        Case("where", (mask, one, two), EXACT, label=label)
        for label, one, two in [
            ("of secrets", x, y),
            ("of a secret and a number", x, -7.5),
            ("of a number and a secret", 2, x),
            ("of a tensor and a weight", tensor, Weight(normal(3, 4))),
            ("broadcast", column, row),
        ]
    ]
    cases += [
        Case("sum", (x, dims, keep), EXACT, label=f"over {dims}")
        for dims in [(0,), (-1,), (0, 1)]
        for keep in (False, True)
    ]
    for shape, dims in [
        ((3, 4), (1,)),
        ((3, 4), (0,)),
        ((3, 4), (-1, 0)),
        ((2, 49), (1,)),
        ((768, 2), (0,)),
        ((5, 1), (1,)),
    ]:
        operand = normal(*shape, scale=100.0)
        off = UNIT + FACTOR * float(operand.abs().max())
        cases.append(Case("mean", (Secret(operand), dims), off, {"keepdim": True}, label=f"of {shape} over {dims}"))
    return cases


def linear() -> list[Case]:
    x, w, bias = Secret(normal(2, 5, 8)), Weight(normal(6, 8)), Weight(normal(6), "bias")
    image = Secret(normal(2, 3, 6, 7))
    filters, offset = Weight(normal(4, 3, 2, 3)), Weight(normal(4), "bias")
    big = Secret(torch.full((2, 4), LARGE, dtype=torch.float64))
    wide = Weight(torch.full((3, 4), 2.0**12, dtype=torch.float64))
    table = Weight(normal(11, 5))
    return [
        Case("linear", (x, w), ROUNDED),
        Case("linear", (x, w, bias), ROUNDED, label="with a bias"),
        Case("linear", (Secret(normal(8)), w, bias), ROUNDED, label="of a vector"),
        Case("linear", (x, Secret(normal(6, 8)), Secret(normal(6))), ROUNDED, label="with a secret weight"),
        Case("linear", (big, wide), ROUNDED, label="of extremes"),
        Case("linear", (x, w, bias), ROUNDED, calibrated={"bound": 100.0}, label="in a narrow ring"),
        Case("linear", (x, w, bias), ROUNDED, calibrated={"bound": 100.0, "last": True}, label="last"),
        Case("matmul", (Secret(normal(5, 8)), Secret(normal(8, 3))), ROUNDED),
        Case("matmul", (Secret(normal(2, 1, 5, 8)), Secret(normal(3, 8, 4))), ROUNDED, label="in batches"),
        Case("matmul", (Secret(normal(5, 8)), normal(8, 3)), ROUNDED, label="with a tensor"),
        Case("matmul", (normal(3, 5), Secret(normal(2, 5, 4))), ROUNDED, label="of a tensor"),
        Case("matmul", (Secret(normal(5, 8)), Weight(normal(8, 3))), ROUNDED, label="with a weight"),
        Case(
            "matmul", (big, Secret(torch.full((4, 2), -(2.0**12), dtype=torch.float64))), ROUNDED, label="of extremes"
        ),
        Case("matmul", (x, Secret(normal(8, 3))), ROUNDED, calibrated={"bound": 100.0}, label="in a narrow ring"),
        Case("conv2d", (image, filters), ROUNDED),
        Case("conv2d", (image, filters, offset), ROUNDED, {"padding": (1, 2)}, label="with padding"),
        Case("conv2d", (image, filters, offset), ROUNDED, {"stride": (2, 3), "dilation": (2, 1)}, label="with strides"),
        Case("conv2d", (image, Weight(normal(4, 3, 1, 1))), ROUNDED, label="of points"),
        Case("embedding", (Ids(torch.tensor([[0, 10], [3, 3]])), table), EXACT, label="at the client's ids"),
        Case("embedding", (torch.tensor([[0, 10], [3, 3]]), table), EXACT, label="at public ids"),
        Case("embedding", (Ids(torch.tensor([1, 4])), normal(6, 3)), EXACT, label="in a public table"),
        Case(
            "embedding",
            (
                Ids(torch.tensor([0, 1, 2])),
                Weight(grid(torch.tensor([[1.99, -1.99], [0.0, 1e-6], [-1.0, 1.0]]), 20), frac_bits=20),
            ),
            EXACT,
            calibrated={"bound": 2.0},
            label="in a narrow ring",
        ),
    ]


def curves() -> list[Case]:
    cases = []
    for op in ("gelu", "silu", "tanh", "sigmoid", "exp"):
        for low, high in [(-6.0, 6.0), (-0.4, 0.7), (1.0, 2.5)]:
            size = max(1.0, math.exp(high)) if op == "exp" else 1.0
            scope = {"scope": (low, high), "tolerance": TOLERANCE * size}
            bound = CURVE * size
            cases.append(
                Case(op, (Secret(spread(low, high, 20, 25)),), bound, calibrated=scope, label=f"on {low}..{high}")
            )
    tanh = {"scope": (-6.0, 6.0), "tolerance": TOLERANCE}
    cases.append(Case("gelu", (Secret(spread(-6, 6, 500)),), CURVE, {"approximate": "tanh"}, tanh, label="by tanh"))
    cases.append(Case("argmax", (Secret(normal(3, 5, 24)),), EXACT))
    cases.append(Case("argmax", (Secret(normal(3, 25)),), EXACT, calibrated={"within": 8.0}, label="narrow"))
    cases.append(Case("relu", (Secret(torch.cat([EXTREME, HUGE])),), EXACT))
    for op in ("reciprocal", "rsqrt"):
        for low, high in [(0.5, 4.0), (8.0, 80.0), (0.01, 0.2), (0.05, 261.0)]:
            largest = 1 / low if op == "reciprocal" else low**-0.5
            bound = 4e-5 * largest + UNIT
            operand = Secret(spread(low, high, 300))
            cases.append(Case(op, (operand,), bound, calibrated={"scope": (low, high)}, label=f"on {low}..{high}"))
    return cases


def rows() -> list[Case]:
    x = normal(3, 5, 24)
    gain, offset = Weight(grid(normal(24).abs() + 0.5), "gain"), Weight(normal(24), "offset")
    variance = {"variance": (0.2, 5.0)}
    small = {"variance": (2e-6, 5e-5)}
    scores = normal(2, 6, 6, scale=0.9).clamp(-2.9, 2.9)
    large = normal(2, 6, 6, scale=2.0).clamp(-5, 5)
    thin = {"scope": mpc.SoftmaxRange(-3.0, 3.0, ((0.03, 4.0),)), "tolerance": 2e-5}
    halved = {"scope": HALVED, "tolerance": 2e-5}
    mixed = Secret(normal(2, 6, 4))
    reach = 6 * float(mixed.plain.abs().max())
    return [
        Case("layer_norm", (Secret(x),), NORM, calibrated=variance),
        Case("layer_norm", (Secret(x), gain, offset), 4 * NORM, calibrated=variance, label="with weights"),
        Case("layer_norm", (Secret(x), gain, offset), 4 * NORM, calibrated={**variance, "bound": 40.0}, label="narrow"),
        Case(
            "layer_norm",
            (Secret(x), public(gain), public(offset)),
            4 * NORM,
            calibrated=variance,
            label="public weights",
        ),
        Case("layer_norm", (Secret(grid(x + 50)),), NORM, calibrated=variance, label="far from zero"),
        Case("layer_norm", (Secret(x),), NORM, {"eps": 0.5}, {"variance": (0.6, 6.0)}, label="with a large eps"),
        Case("layer_norm", (Secret(grid(x * 0.004)),), 0.02, {"eps": 0.0}, small, label="of small values"),
        Case(
            "layer_norm", (Secret(grid(x * 300)),), NORM, calibrated={"variance": (2e4, 4e5)}, label="of large values"
        ),
        Case("rms_norm", (Secret(x),), NORM, calibrated=variance),
        Case("rms_norm", (Secret(x), gain), 4 * NORM, {"eps": 1e-5}, variance, label="with a weight"),
        Case("softmax", (Secret(scores),), PROBABILITY, calibrated=SHORT),
        Case("softmax", (Secret(scores), KEEP), PROBABILITY, calibrated=SHORT, label="causal"),
        Case("softmax", (Secret(scores), EMPTY), PROBABILITY, calibrated=SHORT, label="with an empty row"),
        Case("softmax", (Secret(large), KEEP), PROBABILITY, calibrated=halved, label="halved"),
        Case("softmax", (Secret(scores), Secret(KEEP.double())), 2 * PROBABILITY, calibrated=thin, label="secret mask"),
        Case("attend", (Secret(scores), mixed), reach * PROBABILITY, calibrated=SHORT),
        Case(
            "attend", (Secret(scores), mixed, EMPTY), reach * PROBABILITY, calibrated=SHORT, label="with an empty row"
        ),
        Case("attend", (Secret(large), mixed, KEEP), reach * PROBABILITY, calibrated=halved, label="halved"),
        Case(
            "attend", (Secret(scores), mixed), reach * PROBABILITY, calibrated={**SHORT, "bound": 4.0}, label="narrow"
        ),
    ]


def shapes() -> list[Case]:
    x, image = Secret(normal(2, 3, 4)), Secret(normal(2, 3, 6, 6))
    extreme = Secret(EXTREME[:9].reshape(1, 1, 3, 3))
    ids = Ids(torch.arange(12).reshape(3, 4))
    return [
        Case("reshape", (x, (4, 6)), EXACT),
        Case("reshape", (x, (24,)), EXACT, label="flat"),
        Case("permute", (x, (2, 0, 1)), EXACT),
        Case("expand", (Secret(normal(3, 1)), (2, 3, 4)), EXACT),
        Case("take", (x, 1, 0, 2), EXACT),
        Case("take", (x, -1, 1, 4, 2), EXACT, label="with a step"),
        Case("concat", ([x, x, Secret(normal(2, 1, 4))], 1), EXACT),
        Case("concat", ([x, normal(2, 2, 4), Weight(normal(2, 1, 4))], 1), EXACT, label="of all kinds"),
        Case("gather_rows", (x, 1, torch.tensor([2, 0, 2, 1])), EXACT),
        Case("max_pool2d", (image, (2, 2), (2, 2)), EXACT),
        Case("max_pool2d", (image, (3, 2), (1, 2)), EXACT, label="overlapping"),
        Case("max_pool2d", (extreme, (3, 3), (1, 1)), EXACT, label="of extremes"),
        Case("avg_pool2d", (image, (2, 2), (2, 2)), ROUNDED),
        Case("avg_pool2d", (image, (3, 3), (1, 2)), ROUNDED + 4 * FACTOR, label="overlapping"),
        Case("avg_pool2d", (image, (3, 3), (2, 2), (1, 1)), ROUNDED + 4 * FACTOR, label="with padding"),
        Case("take", (ids, 0, 1, 3), EXACT, label="of the client's integers"),
        Case("permute", (ids, (1, 0)), EXACT, label="of the client's integers"),
        Case("gather_rows", (ids, 1, torch.tensor([3, 0])), EXACT, label="of the client's integers"),
    ]


def approximations() -> list[Case]:
    small = Secret(normal(3, 5))
    squares = {"scope": mpc.SoftmaxRange(-4.0, 4.0, ((9.0, 60.0),)), "tolerance": 1e-4}
    positive = {"scope": mpc.SoftmaxRange(-4.0, 4.0, ((2.0**-6, 20.0),)), "tolerance": 1e-4}
    return [
        Case("quadratic", (small, 0.125, 0.25, 0.5), ROUNDED, calibrated={"bound": 64.0}),
        Case("quadratic", (small, -1.0, 0.0, 3.0), ROUNDED, calibrated={"scope": (-5.0, 5.0)}, label="without a bound"),
        Case("softmax", (small, None, "2quad"), 4 * ROUNDED, calibrated=squares, label="2quad"),
        Case("softmax", (small, None, "2relu"), 4 * ROUNDED, calibrated=positive, label="2relu"),
    ]


CASES = [*approximations(), *arithmetic(), *linear(), *curves(), *rows(), *shapes()]
