"""One BERT, run privately, by stock CrypTen and in plaintext, in turn.

What takes too long, or too much memory, in full runs fewer layers, and its cost is scaled: what a layer takes, times
the layers, and the rest once. Our last layer computes only the rows that the head reads, so it belongs to the rest.
Stock CrypTen runs as it does by default, with triples made by rank 0 during the call,
which is its fastest way; GELU is written with tanh, because its erf is wrong beyond 1.2.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

import mpccompile
from mpccompile.capture.from_torch import as_for_inference
from mpccompile.capture.outputs import keep
from mpccompile.errors import OptionError
from mpccompile.report.compare import Cost, interleaved, largest_difference, plaintext

if TYPE_CHECKING:
    from mpccompile.private import PrivateModel
    from mpccompile.report.profile import Profile, Row

SEED = 0
OURS = "mpccompile"
STOCK = "stock CrypTen"
PLAINTEXT = "plaintext"
_LAYER = re.compile(r"\.(?:layer|h)\.(\d+)(\.|$)")
Say = Callable[[str], object]


@dataclass(frozen=True)
class Course:
    """What is run.

    Attributes:
        config: The model's; its number of layers is what costs are scaled to.
        tokens: Length of the input, batch 1.
        our_layers: Layers that we run: all of them, or two or more.
        stock_layers: Layers that stock CrypTen runs.
        repeat: Runs of each way, in turn; medians are kept.
        device: Where our parties compute; CrypTen's use the CPU.
        options: What to compile for, for both.
        query_scale: What the weights of queries are multiplied by. The scores of random ones range less than those of
            trained ones, and our softmax costs more when they range further.
    """

    config: BertConfig
    tokens: int = 128
    our_layers: int = 12
    stock_layers: int = 1
    repeat: int = 3
    device: str = "cpu"
    options: Mapping[str, Any] = field(default_factory=dict)
    query_scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what could not be scaled.

        Raises:
            OptionError: If the one layer that we would run is the last, which is cheaper than the others.
        """
        if self.our_layers == 1 < self.layers:
            raise OptionError("one layer is too few to scale from", hint="Run two, or a model of one layer.")

    @property
    def layers(self) -> int:
        """Layers of the whole model."""
        return int(self.config.num_hidden_layers)


@dataclass(frozen=True)
class Finish:
    """What each way took; seconds are medians.

    Attributes:
        ours: This package, for all layers.
        ours_as_run: This package, for the layers that it ran.
        stock: Stock CrypTen, for all layers.
        stock_as_run: Stock CrypTen, for the layers that it ran.
        plain: Plaintext torch with one thread, for the layers that we ran.
        peak_bytes: Most memory that (rank 0, rank 1) of ours held.
        compile_seconds: Capturing, lowering, calibrating and writing our program.
    """

    ours: Cost
    ours_as_run: Cost
    stock: Cost
    stock_as_run: Cost
    plain: Cost
    peak_bytes: tuple[int, int]
    compile_seconds: float


def race(course: Course, say: Say) -> Finish:
    """Run a course and return what each way took."""
    model, small = (
        _model(course.config, count, course.query_scale) for count in (course.our_layers, course.stock_layers)
    )
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
            OURS: _timed(OURS, ours, _reference(model, inputs, course.options), inputs, profiles, say),
            STOCK: _timed(STOCK, stock, _reference(small, inputs, course.options), inputs, profiles, say),
            PLAINTEXT: lambda: plaintext(model, inputs),
        }
        for run_once in runs.values():
            # The first call of each starts processes and allocates.
            run_once()
        found = dict(zip(runs, interleaved(runs, course.repeat), strict=True))
    whole = _all_layers(found[OURS], profiles[OURS], course)
    stock_whole = scaled(found[STOCK], profiles[STOCK], course.layers / course.stock_layers)
    peak = profiles[OURS].peak_bytes
    return Finish(whole, found[OURS], stock_whole, found[STOCK], found[PLAINTEXT], peak, seconds)


def _model(config: BertConfig, layers: int, query_scale: float = 1.0) -> nn.Module:
    changed = BertConfig(**{**config.to_dict(), "num_hidden_layers": layers})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model: nn.Module = BertForSequenceClassification(changed)
    with torch.no_grad():
        for name, module in model.named_modules():
            if name.endswith(".query") and isinstance(module, nn.Linear):
                module.weight.mul_(query_scale)
    return model.eval()


def _inputs(config: BertConfig, tokens: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(SEED)
    return {"input_ids": torch.randint(config.vocab_size, (1, tokens), generator=generator)}


def _reference(model: nn.Module, inputs: Mapping[str, Tensor], options: Mapping[str, Any]) -> Sequence[Tensor]:
    """Return what the graph that is raced answers in plaintext, with its approximations where it has some."""
    if options:
        return mpccompile.program(model, inputs, **options).reference
    with as_for_inference(model):
        return keep(model(**inputs)).tensors


def _timed(
    name: str,
    way: PrivateModel,
    reference: Sequence[Tensor],
    inputs: Mapping[str, Tensor],
    profiles: dict[str, Profile],
    say: Say,
) -> Callable[[], Cost]:
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


def _all_layers(cost: Cost, profile: Profile, course: Course) -> Cost:
    """Scale what our layers took to the whole model's.

    The dealer's work is not timed layer by layer. It is scaled by what is dealt for one more layer, which a shorter
    program tells without being run.
    """
    if course.our_layers == course.layers:
        return cost
    shorter = mpccompile.compile(
        _model(course.config, course.our_layers - 1, course.query_scale),
        example_inputs=_inputs(course.config, course.tokens),
        device=course.device,
        **course.options,
    )
    one_layer_bytes = profile.offline_bytes - shorter.packages[0].offline_bytes
    dealt = 1 + (course.layers - course.our_layers) * one_layer_bytes / profile.offline_bytes
    last = course.our_layers - 1
    return scaled(cost, profile, (course.layers - 1) / last, apart=last, offline_factor=dealt)


def scaled(
    cost: Cost, profile: Profile, factor: float, *, apart: int | None = None, offline_factor: float | None = None
) -> Cost:
    """Multiply what the layers take; of seconds, by the layers' share in the last run.

    Args:
        cost: Medians.
        profile: The last run, statement by statement.
        factor: What the layers' part is multiplied by.
        apart: Number of a layer that counts once, like what is outside of all layers.
        offline_factor: What everything offline is multiplied by, where the profile does not time it by statement.
    """
    inside = [row for row in profile.rows if _repeats(row, apart)]

    def grown(total: float, value: Callable[[Row], float]) -> float:
        whole = sum(value(row) for row in profile.rows)
        share = sum(value(row) for row in inside) / whole if whole else 0.0
        return total * (1 - share + factor * share)

    offline_seconds = grown(cost.offline_seconds, lambda row: row.offline_seconds)
    return replace(
        cost,
        online_seconds=grown(cost.online_seconds, lambda row: row.seconds),
        offline_seconds=offline_seconds if offline_factor is None else cost.offline_seconds * offline_factor,
        bytes_sent=grown(cost.bytes_sent, lambda row: max(row.bytes_sent)),
        offline_bytes=cost.offline_bytes * (1 if offline_factor is None else offline_factor),
        rounds=grown(cost.rounds, lambda row: row.rounds),
    )


def _repeats(row: Row, apart: int | None) -> bool:
    layer = _LAYER.search(row.module_path)
    return layer is not None and int(layer[1]) != apart
