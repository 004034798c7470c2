"""What a choice of approximations loses, and what it takes."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mpccompile import compiler
from mpccompile.codegen import package as packages
from mpccompile.codegen.package import plan_of
from mpccompile.data.checks import expect_classes, expect_one_class_a_row
from mpccompile.data.read import read
from mpccompile.evaluation.fit import told_by_row
from mpccompile.evaluation.score import class_scores
from mpccompile.options import Options
from mpccompile.passes.driver import run_passes
from mpccompile.simulation.fixed_point import FixedPointProgram
from mpccompile.tuning.sites import Move, Site, options_for, sites_of

if TYPE_CHECKING:
    from mpccompile.data.table import Table
    from mpccompile.ir.network import Network, Seconds
    from mpccompile.ir.program import Program

RANGE_BATCHES = 4
"""Batches that ranges are calibrated on for a cost: they move the number of harmonics, and hardly that."""


@dataclass(frozen=True)
class Loss:
    """What a choice of approximations loses on the calibration data, against the exact model in float32.

    Attributes:
        accuracy: Share of examples it answers right.
        lost: The exact model's accuracy less this one.
        changed: Share of examples with another answer than the exact model's.
        error: Mean over examples of the largest difference of a score.
        refused: Share of examples that a private run would refuse, because a value left its range; they count as wrong
            and as changed.
    """

    accuracy: float
    lost: float
    changed: float
    error: float
    refused: float = 0.0


class Measure:
    """Runs variants of one model on calibration data, in plaintext and simulated.

    Args:
        model: The model.
        data: Examples; without labels, the exact model's answers stand in for them.
        batch_size: Examples in one call.
        options: What to compile for, approximations aside.
        network: Where it is to run.
    """

    def __init__(self, model: nn.Module, data: Table, batch_size: int, options: Options, network: Network) -> None:
        self._options = options
        self._network = network
        self._batches = [(dict(batch), count) for batch, count in data.batches(batch_size)]
        with told_by_row(model, data):
            self.program = compiler.recognise(model, self._batches[0][0], options)
        read(data, self.program.inputs)
        if data.labels is None:
            self._labels = self._exact.argmax(-1)
        else:
            self._labels = expect_one_class_a_row(data)
            expect_classes(data, self._exact.shape[-1])

    @cached_property
    def _exact(self) -> Tensor:
        return self._scores(self.program)

    def loss(self, moves: tuple[Move, ...]) -> Loss:
        """Run the model with some approximations, in float32."""
        scores = self._scores(self._variant(moves))
        return self._judged(scores, torch.ones(len(scores), dtype=torch.bool))

    def simulated(self, moves: tuple[Move, ...]) -> Loss:
        """Compile the model with some approximations and run the package simulated: in fixed point, as private runs do.

        Ranges are calibrated on all of the data.
        """
        program = self._optimised(moves)
        batches = [compiler.in_order(program, batch) for batch, _count in self._batches]
        program, sites = compiler.with_ranges(program, batches, self._options)
        with tempfile.TemporaryDirectory(prefix="mpccompile-") as folder:
            simulation = FixedPointProgram(packages.write(program, sites, self._options, Path(folder)))
            scores, answered = [], []
            for seed, (batch, count) in enumerate(self._batches):
                answer = simulation(batch, seed)
                scores.append(class_scores(answer.outputs, len(next(iter(batch.values()))))[:count])
                answered.append(torch.full((count,), not answer.exceeded))
        return self._judged(torch.cat(scores), torch.cat(answered))

    def _judged(self, scores: Tensor, answered: Tensor) -> Loss:
        best = self._exact.argmax(-1)
        classes = torch.where(answered, scores.argmax(-1), -1)
        right, exact = (_share(found == self._labels) for found in (classes, best))
        error = (scores - self._exact).abs().amax(-1).double().mean().item()
        return Loss(right, exact - right, _share(classes != best), error, _share(~answered))

    def seconds(self, moves: tuple[Move, ...]) -> Seconds:
        """Compile the model with some approximations, up to its plan, and price that."""
        program = self._optimised(moves)
        batches = [compiler.in_order(program, batch) for batch, _count in self._batches[:RANGE_BATCHES]]
        program, sites = compiler.with_ranges(program, batches, self._options)
        return self._network.seconds(plan_of(program, sites, self._options))

    @property
    def sites(self) -> tuple[Site, ...]:
        """Where the model has functions to approximate."""
        return sites_of(self.program, self._optimised(()))

    def _optimised(self, moves: tuple[Move, ...]) -> Program:
        # What passes leave alone is checked whenever the model is compiled; here it would take most of the time.
        return run_passes(self._variant(moves), compiler.EXACT_PASSES, check=False)

    def _variant(self, moves: tuple[Move, ...]) -> Program:
        if not moves:
            return self.program
        return compiler.approximate(self.program, Options.merged(self._options, dict(options_for(moves))))

    def _scores(self, program: Program) -> Tensor:
        found = []
        with torch.no_grad():
            for batch, count in self._batches:
                flat = program.module(*compiler.in_order(program, batch))
                outputs = dict(zip(program.output.keys, flat, strict=True))
                found.append(class_scores(outputs, len(next(iter(batch.values()))))[:count])
        return torch.cat(found)


def _share(hits: Tensor) -> float:
    return hits.double().mean().item()
