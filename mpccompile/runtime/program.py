"""A generated program as a party or a planner holds it: its code, its weights' shapes and its plan."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mpccompile.errors import InputError, PackageError
from mpccompile.runtime import checks
from mpccompile.runtime.crypten_bridge import from_crypten, to_crypten
from mpccompile.runtime.party import (
    Opening,
    PlanningParty,
    Protocol,
    Truncation,
    activate,
    current,
    drive,
    together,
)
from mpccompile.runtime.resident import held_rows, keep
from mpccompile.runtime.shared import ClientValue, Shared, StaticWeight

if TYPE_CHECKING:
    from mpccompile.runtime.plan import Plan

OUTPUT_LINE = 0
"""Traffic that belongs to no statement of ``model.py``: the range test's verdict and the outputs themselves."""


@dataclass(frozen=True)
class InputDescription:
    """One input of a program.

    ``kind`` is ``"public"``, ``"shared"``, ``"client"`` (integers rank 1 looks up) or ``"resident"`` (shares that
    earlier calls left with the parties); a shared input's values may not exceed ``limit`` in size.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    kind: str
    limit: float | None = None


@dataclass(frozen=True)
class WeightDescription:
    """One tensor of the weights file.

    ``frac_bits`` is None for a public constant; ``factor`` marks a weight that is only ever the matrix of a product.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    frac_bits: int | None
    factor: bool


@dataclass(frozen=True)
class ProgramDescription:
    """What the runtime needs to know of a package besides its code and weights.

    ``resident`` has the place and the name of each output that stays with the parties.
    """

    class_name: str
    inputs: tuple[InputDescription, ...]
    weights: tuple[WeightDescription, ...]
    frac_bits: int
    truncation: Truncation = "exact"
    resident: tuple[tuple[int, str], ...] = ()

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ProgramDescription:
        """Rebuild from the manifest's ``program`` entry."""
        return cls(
            values["class_name"],
            tuple(
                InputDescription(i["name"], tuple(i["shape"]), i["dtype"], i["kind"], i["limit"])
                for i in values["inputs"]
            ),
            tuple(
                WeightDescription(w["name"], tuple(w["shape"]), w["dtype"], w["frac_bits"], w["factor"])
                for w in values["weights"]
            ),
            values["frac_bits"],
            values["truncation"],
            tuple((index, name) for index, name in values["resident"]),
        )


def check_limit(name: str, value: Tensor, limit: float | None) -> None:
    """Refuse an input larger than the one the program's proofs start from.

    Raises:
        InputError: If a value exceeds the limit.
    """
    if limit is not None and value.numel() and float(value.abs().max()) > limit:
        raise InputError(
            f"the input holds a value outside the range of {-limit:g} to {limit:g} that the program was calibrated for",
            where=f"input {name}",
            hint="Compile with example_inputs that look like the data.",
        )


def dtype_of(name: str) -> torch.dtype:
    """Return the torch dtype of a manifest name such as ``float32``."""
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise PackageError(f"unknown dtype {name!r} in the manifest")
    return dtype


def load_class(source: Path, class_name: str) -> Any:
    """Import ``model.py`` from a package folder and return its class."""
    spec = importlib.util.spec_from_file_location(f"mpccompile_generated_{abs(hash(str(source)))}", source)
    if spec is None or spec.loader is None:
        raise PackageError(f"{source.name} cannot be imported", where=str(source))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return getattr(module, class_name)


def execute(model: Any, inputs: Sequence[Any]) -> Protocol[tuple[Shared, ...]]:
    """Run a program and test its ranges; outputs stay shared."""
    result = model(*inputs)
    current().ledger.line = OUTPUT_LINE
    outputs = result if isinstance(result, tuple) else (result,)
    yield from checks.finish()
    return tuple(from_crypten(output) for output in outputs)


def reveal(outputs: Sequence[Shared]) -> Protocol[tuple[Tensor, ...]]:
    """Send rank 0's shares of the outputs to rank 1, in one round; only rank 1 learns them."""
    opened = yield tuple(Opening(output.share, 64, to=1) for output in outputs)
    return opened


@dataclass(frozen=True)
class Delivered:
    """What became of a call's outputs.

    Attributes:
        opened: What rank 1 learns, each with its fractional bits.
        resident: What stays with the parties, by name: rows plus their masks, which both parties know.
    """

    opened: tuple[tuple[Tensor, int], ...]
    resident: dict[str, Tensor]


def deliver(outputs: Sequence[Shared], description: ProgramDescription) -> Protocol[Delivered]:
    """Reveal the outputs that rank 1 learns; those that stay are opened under the masks that they keep."""
    names = dict(description.resident)
    shown = [output for index, output in enumerate(outputs) if index not in names]
    staying = (keep(outputs[index], name, description.frac_bits) for index, name in names.items())
    opened, *kept = yield from together(reveal(shown), *staying)
    bits = [output.frac_bits for output in shown]
    rows = {name: rows.kept.wire.delta for name, rows in zip(names.values(), kept, strict=True)}
    return Delivered(tuple(zip(opened, bits, strict=True)), rows)


def make_plan(model_class: Any, description: ProgramDescription, constants: Mapping[str, Tensor]) -> Plan:
    """Run the generated class on shapes alone and return its plan.

    Args:
        model_class: The class ``load_class`` returned.
        description: Its inputs and weights.
        constants: Public tensors of the weights file.
    """
    party = PlanningParty(description.frac_bits, description.truncation)
    activate(party)
    try:
        weights: dict[str, Any] = {name: constant.to("meta") for name, constant in constants.items()}
        for weight in description.weights:
            if weight.frac_bits is not None:
                shape = torch.empty(weight.shape, dtype=torch.int64, device="meta")
                weights[weight.name] = StaticWeight(weight.name, shape, weight.frac_bits)
        inputs = [_shape_only(item, description.frac_bits) for item in description.inputs]
        outputs = drive(execute(model_class(weights), inputs))
        party.ledger.line = OUTPUT_LINE
        drive(deliver(outputs, description))
    finally:
        activate(None)
    return party.plan()


def _shape_only(item: InputDescription, frac_bits: int) -> Any:
    if item.kind == "public":
        return torch.empty(item.shape, dtype=dtype_of(item.dtype), device="meta")
    shape = torch.empty(item.shape, dtype=torch.int64, device="meta")
    if item.kind == "resident":
        return held_rows(item.name, shape, frac_bits)
    return ClientValue(shape) if item.kind == "client" else to_crypten(Shared(shape, frac_bits))
