"""One BERT, run privately, by stock CrypTen and in plaintext, in turn.

What takes too long, or too much memory, in full runs fewer layers, and its cost is scaled: what a layer takes, times
the layers, and the rest once. Stock CrypTen runs as it does by default, with triples made by rank 0 during the call,
which is its fastest way; GELU is written with tanh, because its erf is wrong beyond 1.2.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

import mpccompile
from mpccompile.capture.from_torch import as_for_inference
from mpccompile.capture.outputs import keep
from mpccompile.report.compare import Cost, interleaved, largest_difference, plaintext

if TYPE_CHECKING:
    from mpccompile.private import PrivateModel
    from mpccompile.report.profile import Profile, Row

SEED = 0
OURS = "mpccompile"
STOCK = "stock CrypTen"
PLAINTEXT = "plaintext"
_LAYER = re.compile(r"\.layer\.\d+(\.|$)")
Say = Callable[[str], object]


@dataclass(frozen=True)
class Course:
    """What is run.

    Attributes:
        config: The model's; its number of layers is what costs are scaled to.
        tokens: Length of the input, batch 1.
        our_layers: Layers that we run.
        stock_layers: Layers that stock CrypTen runs.
        repeat: Runs of each way, in turn; medians are kept.
        device: Where our parties compute; CrypTen's use the CPU.
        options: What to compile for, for both.
    """

    config: BertConfig
    tokens: int = 128
    our_layers: int = 12
    stock_layers: int = 1
    repeat: int = 3
    device: str = "cpu"
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def layers(self) -> int:
        """Layers of the whole model."""
        return int(self.config.num_hidden_layers)


@dataclass(frozen=True)
class Finish:
    """What each way took; seconds are medians.

    Attributes:
        ours: This package, for all layers.
        stock: Stock CrypTen, for all layers.
        stock_as_run: Stock CrypTen, for the layers that it ran.
        plain: Plaintext torch with one thread, for the layers that we ran.
        peak_bytes: Most memory that (rank 0, rank 1) of ours held.
        compile_seconds: Capturing, lowering, calibrating and writing our program.
    """

    ours: Cost
    stock: Cost
    stock_as_run: Cost
    plain: Cost
    peak_bytes: tuple[int, int]
    compile_seconds: float


def race(course: Course, say: Say) -> Finish:
    """Run a course and return what each way took."""
    model, small = (_model(course.config, count) for count in (course.our_layers, course.stock_layers))
    inputs = _inputs(course.config, course.tokens)
    say(f"compiling {course.our_layers} layers, and {course.stock_layers} for stock CrypTen")
    started = time.perf_counter()
    ours = mpccompile.compile(model, example_inputs=inputs, device=course.device, **course.options)
    seconds = time.perf_counter() - started
    stock = mpccompile.compile(
        small, example_inputs=inputs, target="crypten", dealer="insecure-local", **course.options
    )
    profiles: dict[str, Profile] = {}
    with ours, stock:
        runs: dict[str, Callable[[], Cost]] = {
            OURS: _timed(OURS, ours, model, inputs, profiles, say),
            STOCK: _timed(STOCK, stock, small, inputs, profiles, say),
            PLAINTEXT: lambda: plaintext(model, inputs),
        }
        for run_once in runs.values():
            # The first call of each starts processes and allocates.
            run_once()
        found = dict(zip(runs, interleaved(runs, course.repeat), strict=True))
    whole = scaled(found[OURS], profiles[OURS], course.layers / course.our_layers)
    stock_whole = scaled(found[STOCK], profiles[STOCK], course.layers / course.stock_layers)
    return Finish(whole, stock_whole, found[STOCK], found[PLAINTEXT], profiles[OURS].peak_bytes, seconds)


def _model(config: BertConfig, layers: int) -> nn.Module:
    changed = BertConfig(**{**config.to_dict(), "num_hidden_layers": layers})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model: nn.Module = BertForSequenceClassification(changed)
    return model.eval()


def _inputs(config: BertConfig, tokens: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(SEED)
    return {"input_ids": torch.randint(config.vocab_size, (1, tokens), generator=generator)}


def _timed(
    name: str,
    way: PrivateModel,
    model: nn.Module,
    inputs: Mapping[str, Tensor],
    profiles: dict[str, Profile],
    say: Say,
) -> Callable[[], Cost]:
    with as_for_inference(model):
        reference = keep(model(**inputs)).tensors

    def once() -> Cost:
        with warnings.catch_warnings():
            # Told in the output: that is how stock CrypTen runs.
            warnings.filterwarnings("ignore", "dealer='insecure-local'", UserWarning)
            answer = way(**inputs)
        profiles[name] = way.last_profile()
        cost = profiles[name].cost(name, largest_difference(keep(answer).tensors, reference))
        say(f"{name}: {cost.online_seconds:.2f} s online, {cost.offline_seconds:.2f} s offline")
        return cost

    return once


def scaled(cost: Cost, profile: Profile, factor: float) -> Cost:
    """Multiply what the layers take; of seconds, by the layers' share in the last run."""
    inside = [row for row in profile.rows if _LAYER.search(row.module_path)]

    def grown(total: float, value: Callable[[Row], float]) -> float:
        whole = sum(value(row) for row in profile.rows)
        share = sum(value(row) for row in inside) / whole if whole else 0.0
        return total * (1 - share + factor * share)

    return replace(
        cost,
        online_seconds=grown(cost.online_seconds, lambda row: row.seconds),
        offline_seconds=grown(cost.offline_seconds, lambda row: row.offline_seconds or row.seconds),
        bytes_sent=grown(cost.bytes_sent, lambda row: max(row.bytes_sent)),
        rounds=grown(cost.rounds, lambda row: row.rounds),
    )
