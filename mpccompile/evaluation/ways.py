"""The ways to run a compiled model: plaintext, in float32 with its approximations, simulated, and privately."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from mpccompile.capture.from_torch import as_for_inference
from mpccompile.capture.outputs import Kept, keep
from mpccompile.errors import InputError, RangeExceeded
from mpccompile.options import EXACT, REPLACED
from mpccompile.simulation.fixed_point import FixedPointProgram
from mpccompile.simulation.float_point import FloatProgram

if TYPE_CHECKING:
    from mpccompile.codegen.package import Package
    from mpccompile.options import Options
    from mpccompile.private import PrivateModel

PLAINTEXT, APPROXIMATED, SIMULATED, PRIVATE = WAYS = ("plaintext", "approximated", "simulated", "private")

Batch = Mapping[str, Tensor]
Outputs = Mapping[str, Tensor]


class Refused(Exception):
    """A call gave no answer, for a reason that lies in its inputs; its text says which."""


@dataclass(frozen=True)
class Way:
    """One way to run the model.

    Attributes:
        name: One of :data:`WAYS`.
        call: Returns flat outputs by name, or raises :class:`Refused`.
    """

    name: str
    call: Callable[[Batch], Outputs]


def ways_of(private: PrivateModel, package: Package, model: nn.Module | None, wanted: tuple[str, ...]) -> list[Way]:
    """Return the ways that there are, in the order of :data:`WAYS`.

    Without named approximations the program in float32 is the model to 1e-5: it stands in for a model that is not
    there, and is not run beside one that is.

    Args:
        private: The compiled model.
        package: Its package for the batches to come.
        model: The model itself, if it is at hand.
        wanted: Which of :data:`WAYS` to keep.

    Raises:
        InputError: If the package can be run in one way only.
    """
    approximations = has_approximations(package.options)
    found: dict[str, Callable[[Batch], Outputs]] = {}
    if package.options.target == "mpccompile":
        found = _own_ways(package, model is None and not approximations, approximations)
    if model is not None:
        found[PLAINTEXT] = _plaintext(model)
    found[PRIVATE] = _private(private, package)
    missing = sorted(set(wanted) - set(found) - {PLAINTEXT, APPROXIMATED})
    if missing:
        raise InputError(
            f"{', '.join(missing)} is no way to run a package for target={package.options.target!r}",
            hint=f"Use {', '.join(name for name in WAYS if name in found)}.",
        )
    return [Way(name, found[name]) for name in WAYS if name in found and name in wanted]


def has_approximations(options: Options) -> bool:
    """Say whether functions of the model are replaced by named approximations."""
    return any(name != EXACT for function in REPLACED for _pattern, name in options.chosen(function))


def _own_ways(package: Package, stands_in: bool, approximations: bool) -> dict[str, Callable[[Batch], Outputs]]:
    floats = FloatProgram(package)
    names = [PLAINTEXT] * stands_in + [APPROXIMATED] * approximations
    return {**dict.fromkeys(names, floats), SIMULATED: _simulated(package)}


def _plaintext(model: nn.Module) -> Callable[[Batch], Outputs]:
    def call(batch: Batch) -> Outputs:
        try:
            with as_for_inference(model):
                answer = model(**batch)
        except Exception as error:
            first = (str(error).strip().splitlines() or [""])[0]
            raise InputError(
                f"{type(model).__name__} fails on the data with {type(error).__name__}: {first}",
                hint="For a package, give the model that it was compiled of.",
            ) from error
        return _flat(keep(answer))

    return call


def _flat(kept: Kept) -> Outputs:
    return dict(zip(kept.spec.keys, kept.tensors, strict=True))


def _simulated(package: Package) -> Callable[[Batch], Outputs]:
    program = FixedPointProgram(package)
    places = {row.line: f"{row.op} in {row.module_path} ({row.source})" for row in package.statements}
    calls = iter(range(1 << 62))

    def call(batch: Batch) -> Outputs:
        _expect_within_limits(package, batch)
        answer = program(batch, seed=next(calls))
        if answer.exceeded:
            where = "; ".join(places.get(line, f"model.py:{line}") for line in answer.exceeded)
            raise Refused(f"a value left its range at {where}")
        return answer.outputs

    return call


def _private(private: PrivateModel, package: Package) -> Callable[[Batch], Outputs]:
    def call(batch: Batch) -> Outputs:
        _expect_within_limits(package, batch)
        try:
            return _flat(keep(private(**batch)))
        except RangeExceeded as error:
            raise Refused(f"a value left its range at {error.where}") from error

    return call


def _expect_within_limits(package: Package, batch: Batch) -> None:
    """Refuse what both would refuse as an input: a number far larger than calibration saw."""
    for spec in package.inputs:
        if spec.limit is not None and float(batch[spec.name].abs().max()) > spec.limit:
            raise Refused(f"input {spec.name} is beyond {spec.limit:g}")
