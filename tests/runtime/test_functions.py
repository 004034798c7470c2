"""Every operation of the compiler's vocabulary has a protocol that computes what its namesake does in plaintext."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch

from mpccompile.errors import MpcCompileError
from mpccompile.ir import ops
from mpccompile.runtime import functions as mpc
from mpccompile.runtime.inverse import RESIDUAL_LIMIT
from mpccompile.runtime.shared import ClientValue, StaticWeight
from tests.runtime.function_cases import (
    CASES,
    EXACT,
    FACTOR,
    GENERATOR,
    UNIT,
    Case,
    Secret,
    Weight,
    grid,
    normal,
    spread,
)
from tests.runtime.pair import Call, run_call, share, values

NOT_OPERATIONS = {"check_ranges", "SoftmaxRange", "from_crypten", "to_crypten", "together"}
"""What the runtime's functions have besides operations: the range test, which has no plaintext meaning, and tools."""
CALIBRATED = {"scope", "tolerance", "variance", "bound", "last", "within"}
"""Keywords that only the protocols take: what calibration found and analysis proved."""


def result_of(outcome: Call) -> torch.Tensor:
    if isinstance(outcome.results[0], ClientValue):
        return outcome.results[1].plain.double()
    return values(outcome.results)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_protocol_computes_what_its_namesake_does(case):
    found, exact = result_of(case.run()), case.exact()
    assert found.shape == exact.shape
    assert float((found - exact).abs().max()) <= case.bound


def operations(module: Any) -> dict[str, Callable[..., Any]]:
    """Return what a module offers by name: what it defines, and what it lists."""
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    ]
    return {name: getattr(module, name) for name in names if not name.startswith("_")}


def test_every_operation_has_a_protocol_and_every_protocol_an_operation():
    assert set(operations(ops)) == set(operations(mpc)) - NOT_OPERATIONS
    assert set(operations(mpc)) >= NOT_OPERATIONS
    assert not hasattr(ops, "check_ranges")


def test_every_operation_is_tested():
    assert {case.op for case in CASES} == set(operations(ops))


@pytest.mark.parametrize("name", operations(ops))
def test_a_protocol_takes_the_arguments_of_its_operation(name):
    plain, private_one = (inspect.signature(getattr(module, name)).parameters for module in (ops, mpc))
    shared_names = list(private_one)[: len(plain)]
    assert shared_names == list(plain)
    for argument in plain:
        assert plain[argument].default == private_one[argument].default
        assert plain[argument].kind == private_one[argument].kind
    extra = list(private_one.values())[len(plain) :]
    assert {parameter.name for parameter in extra} <= CALIBRATED
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in extra)


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        (
            "conv2d",
            (share(normal(1, 4, 5, 5)), StaticWeight("w", torch.zeros(4, 2, 3, 3, dtype=torch.long), 16)),
            {"groups": 2},
        ),
        ("max_pool2d", (share(normal(1, 1, 4, 4)), (2, 2), (2, 2), (1, 1)), {}),
        ("add", (1.0, 2.0), {}),
        ("exp", (share(normal(3)),), {"scope": (0.0, 20.0), "tolerance": 1.0}),
        ("reciprocal", (share(normal(3)),), {"scope": (-1.0, 1.0)}),
        ("rsqrt", (share(normal(3)),), {"scope": (0.0, 1.0)}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_has_no_protocol_is_refused(name, args, kwargs):
    with pytest.raises(MpcCompileError):
        run_call(lambda *held: getattr(mpc, name)(*held, **kwargs), *args)


def test_a_program_outside_of_a_party_says_what_to_do():
    with pytest.raises(MpcCompileError, match=r"mpccompile\.load"):
        mpc.neg(share(torch.ones(2))[0])


@pytest.mark.parametrize("frac_bits", [8, 12, 20])
def test_protocols_follow_the_fractional_bits_of_the_program(frac_bits):
    x, y = (grid(torch.randn(4, 4, generator=GENERATOR), frac_bits) for _ in range(2))

    def program(a, b):
        product = mpc.matmul(a, b)
        return mpc.add(mpc.gelu(product, scope=(-12.0, 12.0), tolerance=1e-3), mpc.mul(a, b))

    outcome = run_call(program, share(x, frac_bits), share(y, frac_bits), frac_bits=frac_bits)
    assert outcome.results[0].frac_bits == frac_bits
    exact = ops.gelu(x @ y) + x * y
    assert float((values(outcome.results) - exact).abs().max()) <= 3e-3 + 5 * 2.0**-frac_bits


def test_a_mean_of_what_is_not_truncated_yet_keeps_its_range():
    # 2^32 units times the factor of a count would leave the ring for a mean of a few hundred.
    x = grid(torch.full((3000,), 300.0) + normal(3000))
    outcome = run_call(lambda a: mpc.mean(mpc.mul(a, 0.5), (0,)), share(x))
    assert abs(float(values(outcome.results)) - float((x * 0.5).mean())) <= UNIT + 150 * FACTOR + 3000**0.5 * UNIT / 100


def test_an_inverse_of_few_fractional_bits_enters_products():
    x = grid(spread(0.001, 0.4, 50))

    def program(a):
        inverse = mpc.reciprocal(a, scope=(0.0009, 0.5))
        return mpc.mul(inverse, a)

    outcome = run_call(program, share(x))
    assert float((values(outcome.results) - 1).abs().max()) <= 1.5 * RESIDUAL_LIMIT


def test_a_value_truncated_for_one_use_is_not_truncated_again():
    x = share(normal(6, 6))

    def program(a):
        product = mpc.mul(a, 0.3)
        mpc.square(product)
        mpc.gelu(product, scope=(-3.0, 3.0), tolerance=1e-3)
        return mpc.linear(product, product)

    outcome = run_call(program, x)
    truncations = sum(step.kind == "shift" for step in outcome.plan.steps)
    # One of the operand, and one of each result.
    assert truncations == 1 + 3


def test_the_order_of_terms_in_a_residual_does_not_matter():
    x, w = Secret(normal(4, 8)), Weight(normal(4, 8))
    one = Case("add", (x, w), EXACT).run()
    two = Case("add", (w, x), EXACT).run()
    assert torch.equal(values(one.results), values(two.results))
