"""The training loop: stages, validations, checkpoints."""

from __future__ import annotations

import copy
import json
import math
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx, nn

from mpccompile.distill import checkpoint
from mpccompile.distill.checkpoint import State
from mpccompile.distill.data import batch_size
from mpccompile.distill.dropout import Place, with_dropout
from mpccompile.distill.finite import first_gradient_not_finite, first_not_finite
from mpccompile.distill.graphs import trainable
from mpccompile.distill.history import TERMS, Log, Record, read
from mpccompile.distill.objective import Batch, Objective, Scores, batches, evaluate, objective
from mpccompile.distill.text_sites import text_sites, with_shaken_embeddings
from mpccompile.errors import Diverged
from mpccompile.ir.text import to_text

if TYPE_CHECKING:
    from mpccompile.data.table import Table
    from mpccompile.distill.config import DistillationConfig, Stage
    from mpccompile.distill.match import Pair
    from mpccompile.distill.progress import Bar
    from mpccompile.ir.program import Program

LOG_FILE = "log.csv"


@dataclass(frozen=True)
class Job:
    """Everything a run is of.

    Attributes:
        student: Program to train.
        teacher: Program to learn from; None where only labels are learned.
        pairs: What is to be alike inside the two.
        train: Rows to train on.
        validation: Rows to select weights by.
        config: How.
    """

    student: Program
    teacher: Program | None
    pairs: tuple[Pair, ...]
    train: Table
    validation: Table | None
    config: DistillationConfig

    def fingerprints(self) -> dict[str, str]:
        """Return what tells this run from others: a resumed run must have the same."""
        marks = {checkpoint.CONFIG: json.dumps(asdict(self.config), sort_keys=True)}
        for name, program in (("student", self.student), ("teacher", self.teacher)):
            if program is not None:
                text = torch.frombuffer(bytearray(to_text(program).encode()), dtype=torch.uint8)
                stored = sorted(
                    {**dict(program.module.named_parameters()), **dict(program.module.named_buffers())}.items()
                )
                marks[name] = checkpoint.fingerprint([("text", text), *stored])
        for name, table in (("data", self.train), (checkpoint.VALIDATION, self.validation)):
            if table is not None:
                labels = [] if table.labels is None else [("labels", table.labels)]
                marks[name] = checkpoint.fingerprint([*table.inputs.items(), *labels])
        return marks


class Trainer:
    """Trains a copy of the student's weights, from the start or from the last checkpoint in ``folder``."""

    def __init__(self, job: Job, folder: Path | None, bar: Bar) -> None:
        self.job = job
        self.module = trainable(job.student).to(job.config.device)
        self._folder = folder
        self._bar = bar
        self._teacher = _on_device(job.teacher, job.config.device)
        self._run = job.fingerprints() if folder is not None else {}
        self._state = State(self._run)
        self._best: dict[str, Tensor] = {}
        self._shaken = job.config.text is not None and job.config.text_loss.shakes
        drawn = job.config.text is not None and job.config.text_loss.resent > 0
        self._noisy = self._shaken or drawn or job.config.dropout > 0 or job.config.teacher_dropout > 0
        self._optimizer: torch.optim.Optimizer | None = None
        self._restored: dict[str, Tensor] = {}

    def train(self) -> tuple[Record, ...]:
        """Train all stages and return what each step did; ``module`` has the weights."""
        records = self._resume()
        stages = self.job.config.stages()
        with Log(self._folder / LOG_FILE if self._folder is not None else None, records) as log:
            while self._state.stage < len(stages):
                name, stage = stages[self._state.stage]
                self._train_stage(name, stage, log)
                self._finish_stage(log)
            return tuple(log.records)

    def _resume(self) -> tuple[Record, ...]:
        if self._folder is None:
            return ()
        found = checkpoint.load(self._folder, self._run)
        if found is None:
            return ()
        self._state, tensors = found
        with torch.no_grad():
            for name, weight in self.module.named_parameters():
                weight.copy_(tensors[f"weight/{name}"])
        self._best = _below(tensors, "best/", self.job.config.device)
        self._restored = _below(tensors, "optimizer/", self.job.config.device)
        return read(self._folder / LOG_FILE, up_to=self._state.total)

    def _train_stage(self, name: str, stage: Stage, log: Log) -> None:
        config, size = self.job.config, batch_size(self.job.student)
        loss, judge = self._objectives(name)
        per_epoch = -(-len(self.job.train) // size)
        steps = stage.epochs * per_epoch
        self._optimizer = _optimizer(self.module, stage, config, self._restored)
        self._restored = {}
        self._bar.begin(name, steps, self._state.step)
        for epoch in range(self._state.step // per_epoch, stage.epochs):
            order = _order(len(self.job.train), config.seed, self._state.stage, epoch)
            done = self._state.step - epoch * per_epoch
            for batch in batches(self.job.train, order[done * size :], size, config.device):
                record = self._step(loss, batch, stage, steps)
                last = self._state.step == steps
                if self._is_time(config.evaluate_steps or per_epoch) or last:
                    record = self._validate(judge, record)
                log.add(record)
                self._bar.advance(record)
                if not last and self._is_time(config.checkpoint_steps):
                    self._save(log)
                if last and not self._best:
                    self._check_end(judge, batch)

    def _is_time(self, steps: int) -> bool:
        return self._state.step % steps == 0

    def _objectives(self, name: str) -> tuple[Objective, Objective]:
        """Return what a stage minimises, and what it is judged by: the same, without dropout and noise."""
        job, student, teacher = self.job, (self.job.student, self.module), self._teacher
        plain = objective(name, student, teacher, job.config, job.pairs)
        if not self._noisy:
            return plain, plain
        places = [Place(pair.place, pair.shape) for pair in job.pairs if pair.kind == "attention"]
        student = _dropping(student, job.config.dropout, places)
        if name == "text" and self._shaken:
            program = student[0].with_changes(module=student[1])
            program = with_shaken_embeddings(program, text_sites(program).embedded, job.config.text_loss)
            student = program, program.module
        teacher = None if teacher is None else _dropping(teacher, job.config.teacher_dropout, places)
        return objective(name, student, teacher, job.config, job.pairs, drawn=True), plain

    def _step(self, loss: Objective, batch: Batch, stage: Stage, steps: int) -> Record:
        start = time.perf_counter()
        rate = stage.learning_rate * stage.factor(self._state.step, steps)
        optimizer = self._optimizer
        if optimizer is None:
            raise RuntimeError("the optimizer is made when a stage begins")
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        # What dropout drops depends on the step alone, so that a resumed run drops the same.
        with torch.random.fork_rng(devices=[]) if self._noisy else nullcontext():
            if self._noisy:
                torch.manual_seed(self.job.config.seed + 1_000_003 * (self._state.total + 1))
            with _reduced(self.job.config):
                _logits, parts = loss(batch)
        total = torch.stack(list(parts.values())).sum()
        if not bool(torch.isfinite(total)):
            raise self._not_finite(loss, batch, f"loss of step {self._state.step + 1}")
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), self.job.config.gradient_norm)
        if not bool(torch.isfinite(norm)):
            raise self._not_finite(loss, batch, f"gradient of step {self._state.step + 1}")
        optimizer.step()
        seconds = self._state.seconds + time.perf_counter() - start
        state = self._state
        self._state = replace(state, step=state.step + 1, total=state.total + 1, seconds=seconds)
        terms = {name: float(parts[name].detach()) if name in parts else None for name in TERMS}
        return Record(
            step=self._state.total,
            stage=loss.stage,
            loss=float(total.detach()),
            lr=rate,
            gradient_norm=float(norm),
            validation_loss=None,
            validation_metric=None,
            seconds=round(seconds, 3),
            **terms,
        )

    def _check_end(self, judge: Objective, batch: Batch) -> None:
        """Refuse what the last step left if it is of no use: no later loss would tell of it."""
        with torch.no_grad():
            _logits, parts = judge(batch)
        if not bool(torch.isfinite(torch.stack(list(parts.values()))).all()):
            raise self._not_finite(judge, batch, "loss after the last step")

    def _not_finite(self, loss: Objective, batch: Batch, what: str) -> Diverged:
        inputs = batch.table.inputs
        place = first_not_finite(self.job.student, self.module, inputs)
        if not place and self._teacher is not None:
            found = first_not_finite(*self._teacher, inputs)
            place = f"in the teacher, {found}" if found else ""
        if not place:
            weight = first_gradient_not_finite(self.module)
            place = f"the gradient of {weight}" if weight else "the loss itself"
        file = self._folder / checkpoint.FILE if self._folder is not None else None
        kept = f" The last good weights are in {file}." if file is not None and file.exists() else ""
        return Diverged(
            f"the {what} of the stage of {loss.stage} is NaN or infinite; the first that is not finite is {place}",
            step=self._state.total + 1,
            hint=f"{self._advice()}{kept}",
        )

    def _advice(self) -> str:
        programs = [each for each in (self.job.student, self.job.teacher) if each is not None]
        for name, weight in (pair for each in programs for pair in each.module.named_parameters()):
            if not bool(torch.isfinite(weight).all()):
                return f"The model had NaN or infinity in {name} before it was trained: look there."
        return "Lower the learning rate of the stage, or warm up for longer."

    def _validate(self, judge: Objective, record: Record) -> Record:
        table, config = self.job.validation, self.job.config
        if table is None:
            return record
        start = time.perf_counter()
        scores = evaluate(judge, table, batch_size(self.job.student))
        by_metric = config.select == "metric" and judge.stage != "layers"
        score = -scores.metric if by_metric and scores.metric is not None else scores.loss
        # A first score that is NaN would stay the best: no later one is below it.
        least = math.inf if self._state.best is None else self._state.best
        better = score is not None and math.isfinite(score) and score < least
        if config.select != "last" and better:
            self._state = replace(self._state, best=score)
            self._best = {name: weight.detach().clone() for name, weight in self.module.named_parameters()}
        self._state = replace(self._state, seconds=self._state.seconds + time.perf_counter() - start)
        return replace(record, validation_loss=scores.loss, validation_metric=scores.metric)

    def _finish_stage(self, log: Log) -> None:
        with torch.no_grad():
            for name, weight in self.module.named_parameters():
                if name in self._best:
                    weight.copy_(self._best[name])
        self._best, self._optimizer = {}, None
        self._state = replace(self._state, stage=self._state.stage + 1, step=0, best=None)
        self._save(log, checkpoint.FINISHED)
        self._save(log)

    def _save(self, log: Log, file: str = checkpoint.FILE) -> None:
        if self._folder is None:
            return
        log.sync()
        tensors = {f"weight/{name}": weight.detach() for name, weight in self.module.named_parameters()}
        tensors |= {f"best/{name}": weight for name, weight in self._best.items()}
        if self._optimizer is not None:
            for name, weight in self.module.named_parameters():
                for key, value in self._optimizer.state.get(weight, {}).items():
                    tensors[f"optimizer/{key}/{name}"] = value
        checkpoint.save(self._folder, tensors, self._state, file)

    def scores(self) -> Scores | None:
        """Return how well the trained weights do on the validation data, by the last stage's loss."""
        if self.job.validation is None:
            return None
        judge = self._objectives(self.job.config.stages()[-1][0])[1]
        return evaluate(judge, self.job.validation, batch_size(self.job.student))


def _below(tensors: dict[str, Tensor], prefix: str, device: str) -> dict[str, Tensor]:
    """Return the tensors whose name has a prefix, without it; counters stay on the CPU, as AdamW keeps them."""
    found = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    return {name: tensor if name.startswith("step/") else tensor.to(device) for name, tensor in found.items()}


def _on_device(program: Program | None, device: str) -> tuple[Program, fx.GraphModule] | None:
    if program is None:
        return None
    # Moving a module moves its own tensors, which are those of the caller's model.
    return program, program.module if device == "cpu" else copy.deepcopy(program.module).to(device)


def _dropping(
    graph: tuple[Program, fx.GraphModule], share: float, places: list[Place]
) -> tuple[Program, fx.GraphModule]:
    if not share:
        return graph
    program = with_dropout(graph[0].with_changes(module=graph[1]), share, places)
    return program, program.module


def _optimizer(
    module: nn.Module, stage: Stage, config: DistillationConfig, restored: dict[str, Tensor]
) -> torch.optim.Optimizer:
    """Return AdamW over the weights, with what it remembered; biases and norms do not decay."""
    named = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
    groups = [
        {"params": [weight for weight in named.values() if weight.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [weight for weight in named.values() if weight.dim() <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=stage.learning_rate)
    for place, value in restored.items():
        key, _, name = place.partition("/")
        optimizer.state[named[name]][key] = value
    return optimizer


def _reduced(config: DistillationConfig) -> AbstractContextManager[object]:
    """Return where products are computed in the config's precision."""
    kind = config.device.partition(":")[0]
    return torch.autocast(kind, torch.bfloat16, enabled=config.precision == "bfloat16")


def _order(rows: int, seed: int, stage: int, epoch: int) -> Tensor:
    """Return the order of one epoch: a function of its place in the run, so that there is no state to restore."""
    mixed = (seed * 1_000_003 + stage) * 1_000_003 + epoch
    return torch.randperm(rows, generator=torch.Generator().manual_seed(mixed % 2**63))
