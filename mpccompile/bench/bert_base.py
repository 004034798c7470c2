"""BERT-base, run privately and run by stock CrypTen, in turn.

Stock CrypTen runs fewer layers, and its cost is scaled: what a layer takes, times the layers, and the rest once. It
runs as it does by default, with triples made by rank 0 during the call, which is its fastest way; GELU is written with
tanh, because its erf is wrong beyond 1.2.
"""

from __future__ import annotations

import io
import re
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

import mpccompile
from mpccompile.bench.bars import MOST_ERROR, Bar, against_stock, at_most, on_mpcformer, table
from mpccompile.bench.machine import machine
from mpccompile.bench.truncations import count_wrong
from mpccompile.capture.from_torch import as_for_inference
from mpccompile.capture.outputs import keep
from mpccompile.demo.run import run_demo
from mpccompile.report.compare import Cost, interleaved, largest_difference, plaintext

if TYPE_CHECKING:
    from mpccompile.private import PrivateModel
    from mpccompile.report.profile import Profile, Row

SEED = 0
STOCK = "stock CrypTen"
MPCFORMER = "stock CrypTen, MPCFormer's graph"
OURS = "mpccompile"
OURS_ON_MPCFORMER = "mpccompile, MPCFormer's graph"
QUADRATICS = {"gelu": "quad", "softmax": "2quad"}
"""MPCFormer's replacements, as options."""
_LAYER = re.compile(r"\.layer\.\d+(\.|$)")


@dataclass(frozen=True)
class Setting:
    """What to run.

    Attributes:
        layers: Layers of the model.
        stock_layers: Layers that stock CrypTen runs.
        tokens: Length of the input, batch 1.
        repeat: Runs of each way, in turn; medians are kept.
        device: Where mpccompile's parties compute; CrypTen's use the CPU.
        mpcformer: Also run both with the quadratics that MPCFormer puts in place of GELU and softmax. Their errors tell
            nothing then: that model would have to be trained again first.
        trained: Also train the demo's classifier and run it privately, for the error with trained weights.
        truncations: How many truncations of adversarial values to check.
    """

    layers: int = 12
    stock_layers: int = 1
    tokens: int = 128
    repeat: int = 3
    device: str = "cpu"
    mpcformer: bool = True
    trained: bool = True
    truncations: int = 1_000_000_000


@dataclass(frozen=True)
class BertBase:
    """What the benchmark measured; seconds are medians, and a party has one thread.

    Attributes:
        setting: What was run.
        machine: What it ran on.
        compile_seconds: Capturing, lowering, calibrating and writing the program.
        peak_bytes: Most memory that (rank 0, rank 1) held.
        costs: Of every way, stock CrypTen's as it ran.
        scaled: Stock CrypTen's, scaled to all layers.
        bars: The ratios, and what they are held to.
    """

    setting: Setting
    machine: Mapping[str, str | int]
    compile_seconds: float
    peak_bytes: tuple[int, int]
    costs: tuple[Cost, ...]
    scaled: tuple[Cost, ...]
    bars: tuple[Bar, ...]

    @property
    def passed(self) -> bool:
        """Whether every bar is met."""
        return all(bar.passed is not False for bar in self.bars)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {**asdict(self), "passed": self.passed}

    def print_to(self, console: Console) -> None:
        """Print the costs, and the ratios with their bars."""
        console.print(_cost_table(self))
        console.print(table(self.bars))


def run(setting: Setting, console: Console | None = None, *, config: BertConfig | None = None) -> BertBase:
    """Measure BERT-base with random weights, batch 1, and count what must not happen.

    Args:
        setting: What to run.
        console: Where to tell of progress and print the tables.
        config: Another model than BERT-base, such as a tiny one for a test.
    """
    say: Callable[[str], object] = console.print if console is not None else str
    costs, scaled, peak, seconds = _raced(setting, config or BertConfig(), say)
    bars = against_stock(costs[0], scaled[0], costs[-1], max(peak))
    if setting.mpcformer:
        bars += (on_mpcformer(costs[1], scaled[1]),)
    found = BertBase(setting, machine(), seconds, peak, costs, scaled, (*bars, *_counted(setting, say)))
    if console is not None:
        found.print_to(console)
    return found


def _raced(
    setting: Setting, config: BertConfig, say: Callable[[str], object]
) -> tuple[tuple[Cost, ...], tuple[Cost, ...], tuple[int, int], float]:
    """Return every way's cost, stock CrypTen's scaled to all layers, our parties' memory, and seconds to compile."""
    model, small = (_model(config, count) for count in (setting.layers, setting.stock_layers))
    inputs = _inputs(config, setting.tokens)
    ways: dict[str, dict[str, Any]] = {OURS: {}} | ({OURS_ON_MPCFORMER: QUADRATICS} if setting.mpcformer else {})
    rivals: dict[str, dict[str, Any]] = {STOCK: {}} | ({MPCFORMER: QUADRATICS} if setting.mpcformer else {})
    with ExitStack() as stack:
        say(f"compiling {setting.layers} layers, and {setting.stock_layers} for stock CrypTen")
        started = time.perf_counter()
        ours, seconds = {}, 0.0
        for name, options in ways.items():
            compiled = mpccompile.compile(model, example_inputs=inputs, device=setting.device, **options)
            ours[name] = stack.enter_context(compiled)
            seconds = seconds or time.perf_counter() - started
        stock = {name: stack.enter_context(_stock(small, inputs, options)) for name, options in rivals.items()}
        return *_measured(model, small, inputs, ours, stock, setting.repeat, say), seconds


def _counted(setting: Setting, say: Callable[[str], object]) -> tuple[Bar, ...]:
    """Run what is no race: trained weights, and truncations."""
    bars: tuple[Bar, ...] = ()
    if setting.trained:
        say("training the demo's classifier, and running it privately")
        result = run_demo(Console(file=io.StringIO()), test_snippets=TRAINED_SNIPPETS)
        bars += (at_most("largest error of a logit, trained weights", result.largest_difference, MOST_ERROR),)
    if setting.truncations:
        say(f"truncating {setting.truncations:,} adversarial values")
        wrong = count_wrong(setting.truncations, SEED)
        bars += (at_most(f"wrong ones of {setting.truncations:,} truncations of adversarial values", wrong, 0),)
    return bars


TRAINED_SNIPPETS = 64


def _model(config: BertConfig, layers: int) -> nn.Module:
    changed = BertConfig(**{**config.to_dict(), "num_hidden_layers": layers})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model: nn.Module = BertForSequenceClassification(changed)
    return model.eval()


def _inputs(config: BertConfig, tokens: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(SEED)
    return {"input_ids": torch.randint(config.vocab_size, (1, tokens), generator=generator)}


def _stock(model: nn.Module, inputs: Mapping[str, Tensor], options: Mapping[str, Any]) -> PrivateModel:
    return mpccompile.compile(model, example_inputs=inputs, target="crypten", dealer="insecure-local", **options)


def _measured(
    model: nn.Module,
    small: nn.Module,
    inputs: Mapping[str, Tensor],
    ours: Mapping[str, PrivateModel],
    stock: Mapping[str, PrivateModel],
    repeat: int,
    say: Callable[[str], object],
) -> tuple[tuple[Cost, ...], tuple[Cost, ...], tuple[int, int]]:
    """Return the costs, ours first and plaintext last; stock CrypTen's, scaled; and our parties' memory."""
    count, stock_count = (int(m.config.num_hidden_layers) for m in (model, small))  # type: ignore[arg-type, union-attr]
    profiles: dict[str, Profile] = {}
    runs = {name: _timed(name, way, model, inputs, profiles, say) for name, way in ours.items()}
    runs |= {name: _timed(name, way, small, inputs, profiles, say) for name, way in stock.items()}
    runs["plaintext"] = lambda: plaintext(model, inputs)
    for run_once in runs.values():
        # The first call of each starts processes and allocates.
        run_once()
    costs = interleaved(runs, repeat)
    scaled = tuple(_scaled(cost, profiles[cost.name], count / stock_count) for cost in costs if cost.name in stock)
    return costs, scaled, profiles[OURS].peak_bytes


def _timed(
    name: str,
    way: PrivateModel,
    model: nn.Module,
    inputs: Mapping[str, Tensor],
    profiles: dict[str, Profile],
    say: Callable[[str], object],
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


def _scaled(cost: Cost, profile: Profile, factor: float) -> Cost:
    """Multiply what the layers take; of seconds, by the layers' share in the last run."""
    inside = [row for row in profile.rows if _LAYER.search(row.module_path)]

    def grown(total: float, value: Callable[[Row], float]) -> float:
        whole = sum(value(row) for row in profile.rows)
        share = sum(value(row) for row in inside) / whole if whole else 0.0
        return total * (1 - share + factor * share)

    return replace(
        cost,
        name=f"{cost.name}, scaled",
        online_seconds=grown(cost.online_seconds, lambda row: row.seconds),
        offline_seconds=grown(cost.offline_seconds, lambda row: row.offline_seconds),
        bytes_sent=grown(cost.bytes_sent, lambda row: max(row.bytes_sent)),
        rounds=grown(cost.rounds, lambda row: row.rounds),
    )


def _cost_table(result: BertBase) -> Table:
    setting = result.setting
    table = Table(title=f"BERT-base, {setting.layers} layers, {setting.tokens} tokens, batch 1, one thread a party")
    table.add_column("way")
    for name in ("layers", "online", "offline", "a party sends", "rounds", "largest error"):
        table.add_column(name, justify="right")
    whole = (OURS, OURS_ON_MPCFORMER, "plaintext", *(cost.name for cost in result.scaled))
    layers = dict.fromkeys(whole, setting.layers)
    for cost in (*result.costs, *result.scaled):
        count = str(layers.get(cost.name, setting.stock_layers))
        error = "" if cost in result.scaled else f"{cost.max_error:.2g}"
        seconds = (f"{cost.online_seconds:.2f} s", f"{cost.offline_seconds:.2f} s")
        table.add_row(cost.name, count, *seconds, f"{cost.bytes_sent / 1e6:.1f} MB", f"{cost.rounds:.0f}", error)
    peak = max(result.peak_bytes) / 1e9
    table.caption = (
        f"Stock CrypTen as it runs by default: rank 0 makes the triples during the call (its offline), GELU by tanh;"
        f" it ran {setting.stock_layers} of {setting.layers} layers, and what they took is scaled."
        f" Compiled in {result.compile_seconds:.0f} s; a party of ours held {peak:.1f} GB at most."
        f" {result.machine['processor']}, {result.machine['cores']} cores, torch {result.machine['torch']}."
    )
    return table
