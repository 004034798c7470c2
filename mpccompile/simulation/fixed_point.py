"""A package's program run on whole fixed-point values: what the private run answers, for a part of its cost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from mpccompile.runtime import checks, ring
from mpccompile.runtime.crypten_bridge import from_crypten, to_crypten
from mpccompile.runtime.party import activate, drive
from mpccompile.runtime.program import InputDescription, ProgramDescription, check_limit, load_class
from mpccompile.runtime.resident import held_rows
from mpccompile.runtime.shared import ClientValue, Shared, StaticWeight
from mpccompile.runtime.worker import read_plan
from mpccompile.simulation.party import SimulatedParty

if TYPE_CHECKING:
    from mpccompile.codegen.package import Package


@dataclass(frozen=True)
class Answer:
    """What one simulated call gives.

    Attributes:
        outputs: The flat outputs by name, float32; what a private run would refuse to give is here all the same.
        exceeded: Lines of ``model.py`` whose values left their calibrated range: the private run raises RangeExceeded
            for them. Up to one window of the test outside, that is by chance, here as there.
        wraps: How many values the private run is expected to truncate wrongly; 0 where it truncates exactly.
    """

    outputs: dict[str, Tensor]
    exceeded: tuple[int, ...]
    wraps: float


class FixedPointProgram:
    """A package's generated program, ready to be simulated.

    Args:
        package: The package; its weights are read, so it has to be the owner's copy.
    """

    def __init__(self, package: Package) -> None:
        folder = package.folder
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        self._description = ProgramDescription.from_json(manifest["program"])
        self._plan = read_plan(folder)
        self._keys = package.output.keys
        self._statics: dict[str, StaticWeight] = {}
        secret = load_file(folder / "weights.safetensors")
        weights: dict[str, Any] = dict(load_file(folder / "constants.safetensors"))
        for weight in self._description.weights:
            if weight.frac_bits is not None:
                fixed = ring.encode(secret.pop(weight.name), weight.frac_bits)
                weights[weight.name] = self._statics[weight.name] = StaticWeight(weight.name, fixed, weight.frac_bits)
        self._model = load_class(folder / "model.py", self._description.class_name)(weights)

    def __call__(self, inputs: Mapping[str, Tensor], seed: int = 0) -> Answer:
        """Run one call.

        Args:
            inputs: The program's inputs by name, in its shapes.
            seed: Chooses how truncations round.

        Raises:
            InputError: If a value exceeds an input's limit, or an id is outside its table.
        """
        bits, truncation = self._description.frac_bits, self._description.truncation
        party = SimulatedParty(self._plan, self._statics, bits, seed, truncation)
        activate(party)
        try:
            given = [_whole(item, inputs[item.name], self._description.frac_bits) for item in self._description.inputs]
            with torch.no_grad():
                result = self._model(*given)
                found = drive(checks.settled())
        finally:
            activate(None)
        flat = [from_crypten(output) for output in (result if isinstance(result, tuple) else (result,))]
        outputs = [ring.decode(output.share, output.frac_bits) for output in flat]
        exceeded = sorted({check.line for check in found if bool(check.total.any())})
        return Answer(dict(zip(self._keys, outputs, strict=True)), tuple(exceeded), party.wraps)


def _whole(item: InputDescription, value: Tensor, frac_bits: int) -> Any:
    """Return an input as the program takes it, whole where a party would hold a share."""
    if item.kind == "public":
        return value
    if item.kind == "client":
        return ClientValue(value.to(torch.int64))
    check_limit(item.name, value, item.limit)
    if item.kind == "resident":
        return held_rows(item.name, ring.encode(value, frac_bits), frac_bits)
    return to_crypten(Shared(ring.encode(value, frac_bits), frac_bits))
