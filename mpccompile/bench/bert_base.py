"""BERT-base, run privately and run by stock CrypTen, in turn.

Stock CrypTen runs fewer layers, and its cost is scaled: what a layer takes, times the layers, and the rest once. It
runs as it does by default, with triples made by rank 0 during the call, which is its fastest way; GELU is written with
tanh, because its erf is wrong beyond 1.2.
"""

from __future__ import annotations

import os
import platform
import re
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

import mpccompile
from mpccompile.capture.from_torch import as_for_inference
from mpccompile.capture.outputs import keep
from mpccompile.report.compare import Cost, interleaved, largest_difference, plaintext

if TYPE_CHECKING:
    from rich.console import Console

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
class Bar:
    """One figure and the bar it is held to.

    Attributes:
        name: What is compared.
        value: The figure.
        bar: The least (most, for an error) it should be; None when it is told for information.
        passed: Whether it is.
    """

    name: str
    value: float
    bar: float | None = None
    passed: bool | None = None


@dataclass(frozen=True)
class BertBase:
    """What the benchmark measured; seconds are medians, and a party has one thread.

    Attributes:
        layers: Layers of the model.
        stock_layers: Layers that stock CrypTen ran.
        tokens: Length of the input, batch 1.
        repeat: Runs of each.
        machine: What it ran on.
        compile_seconds: Capturing, lowering, calibrating and writing the program.
        peak_bytes: Most memory that (rank 0, rank 1) held.
        costs: Of every way, stock CrypTen's as it ran.
        scaled: Stock CrypTen's, scaled to all layers.
        bars: The ratios, and what they are held to.
    """

    layers: int
    stock_layers: int
    tokens: int
    repeat: int
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
        console.print(_bar_table(self))


def run(
    layers: int = 12,
    repeat: int = 3,
    stock_layers: int = 1,
    tokens: int = 128,
    device: str = "cpu",
    console: Console | None = None,
    *,
    config: BertConfig | None = None,
    mpcformer: bool = False,
) -> BertBase:
    """Measure BERT-base with random weights, batch 1.

    Args:
        layers: Layers of the model.
        repeat: Runs of each way, in turn; medians are kept.
        stock_layers: Layers that stock CrypTen runs.
        tokens: Length of the input.
        device: Where mpccompile's parties compute; CrypTen's use the CPU.
        console: Where to tell of progress and print the tables.
        config: Another model than BERT-base, such as a tiny one for a test.
        mpcformer: Also run both with the quadratics that MPCFormer puts in place of GELU and softmax. Their errors
            tell nothing then: that model would have to be trained again first.
    """
    say: Callable[[str], object] = console.print if console is not None else str
    config = config or BertConfig()
    model, small = (_model(config, count) for count in (layers, stock_layers))
    inputs = _inputs(config, tokens)
    ways: dict[str, dict[str, Any]] = {OURS: {}} | ({OURS_ON_MPCFORMER: QUADRATICS} if mpcformer else {})
    rivals: dict[str, dict[str, Any]] = {STOCK: {}} | ({MPCFORMER: QUADRATICS} if mpcformer else {})
    with ExitStack() as stack:
        say(f"compiling {layers} layers, and {stock_layers} for stock CrypTen")
        started = time.perf_counter()
        ours, seconds = {}, 0.0
        for name, options in ways.items():
            compiled = mpccompile.compile(model, example_inputs=inputs, device=device, **options)
            ours[name] = stack.enter_context(compiled)
            seconds = seconds or time.perf_counter() - started
        stock = {name: stack.enter_context(_stock(small, inputs, options)) for name, options in rivals.items()}
        result = _measured(model, small, inputs, ours, stock, repeat, say)
    costs, scaled, peak = result
    bars = _bars(costs[0], scaled[0], costs[-1])
    if mpcformer:
        bars += (_mpcformer_bar(costs[1], scaled[1]),)
    counts = (layers, stock_layers, tokens, repeat)
    found = BertBase(*counts, machine(), seconds, peak, costs, scaled, bars)
    if console is not None:
        found.print_to(console)
    return found


def machine() -> dict[str, str | int]:
    """Describe this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "processor": _processor(),
        "cores": cores,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


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


def _bars(ours: Cost, stock: Cost, plain: Cost) -> tuple[Bar, ...]:
    ratios = (
        ("online time: stock CrypTen as it runs", stock.seconds / ours.online_seconds, 20.0),
        ("online time: stock CrypTen less its triples", stock.online_seconds / ours.online_seconds, 12.0),
        ("online and offline time: stock CrypTen as it runs", stock.seconds / ours.seconds, 8.0),
        ("bytes a party sends online", stock.bytes_sent / ours.bytes_sent, 15.0),
        ("rounds online", stock.rounds / ours.rounds, 5.0),
    )
    return (
        *(Bar(name, value, bar, value >= bar) for name, value, bar in ratios),
        Bar("largest error of a logit", ours.max_error, MOST_ERROR, ours.max_error <= MOST_ERROR),
        Bar("online time, as a multiple of plaintext torch's", ours.online_seconds / plain.online_seconds),
    )


def _mpcformer_bar(ours: Cost, stock: Cost) -> Bar:
    ratio = stock.seconds / ours.online_seconds
    name = "online time on MPCFormer's graph: stock CrypTen as it runs"
    return Bar(name, ratio, LEAST_ON_MPCFORMER, ratio >= LEAST_ON_MPCFORMER)


LEAST_ON_MPCFORMER = 10.0
MOST_ERROR = 1e-2


def _cost_table(result: BertBase) -> Table:
    table = Table(title=f"BERT-base, {result.layers} layers, {result.tokens} tokens, batch 1, one thread a party")
    table.add_column("way")
    for name in ("layers", "online", "offline", "a party sends", "rounds", "largest error"):
        table.add_column(name, justify="right")
    whole = (OURS, OURS_ON_MPCFORMER, "plaintext", *(cost.name for cost in result.scaled))
    layers = dict.fromkeys(whole, result.layers)
    for cost in (*result.costs, *result.scaled):
        count = str(layers.get(cost.name, result.stock_layers))
        error = "" if cost in result.scaled else f"{cost.max_error:.2g}"
        seconds = (f"{cost.online_seconds:.2f} s", f"{cost.offline_seconds:.2f} s")
        table.add_row(cost.name, count, *seconds, f"{cost.bytes_sent / 1e6:.1f} MB", f"{cost.rounds:.0f}", error)
    peak = max(result.peak_bytes) / 1e9
    table.caption = (
        f"Stock CrypTen as it runs by default: rank 0 makes the triples during the call (its offline), GELU by tanh;"
        f" it ran {result.stock_layers} of {result.layers} layers, and what they took is scaled."
        f" Compiled in {result.compile_seconds:.0f} s; a party of ours held {peak:.1f} GB at most."
        f" {result.machine['processor']}, {result.machine['cores']} cores, torch {result.machine['torch']}."
    )
    return table


def _bar_table(result: BertBase) -> Table:
    table = Table(title="Ratios: how many times less mpccompile takes")
    for name, justify in (("figure", "left"), ("value", "right"), ("bar", "right"), ("", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    verdicts: Sequence[str] = [{None: "", True: "pass", False: "FAIL"}[bar.passed] for bar in result.bars]
    for bar, verdict in zip(result.bars, verdicts, strict=True):
        table.add_row(bar.name, f"{bar.value:.3g}", "" if bar.bar is None else f"{bar.bar:g}", verdict)
    return table
