"""One GPT-2 that decodes, privately and by stock CrypTen, a token of each in turn.

Ours generates a whole text from a short prompt, and every token of it is measured. Stock CrypTen reads one token with
a cache of the same length beside it: its keys and values are secret inputs and outputs of the same graph, so that it
does as little as a cache allows. It runs fewer layers, and what they take is scaled.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

import mpccompile
from mpccompile.bench.race import OURS, SEED, STOCK, Say, scaled
from mpccompile.capture.cached import ReadPrompt, ReadToken
from mpccompile.capture.from_torch import as_for_inference
from mpccompile.generation.examples import continued, token_inputs
from mpccompile.report.compare import Cost, middle
from mpccompile.runtime.program import ProgramDescription
from mpccompile.runtime.worker import read_plan, static_shapes

if TYPE_CHECKING:
    from mpccompile.codegen.package import Package
    from mpccompile.private import PrivateModel

WORD_BYTES = 8


@dataclass(frozen=True)
class Course:
    """What is run.

    Attributes:
        config: The model's.
        prompt: Tokens that are given, batch 1.
        new_tokens: Tokens that follow.
        stock_layers: Layers that stock CrypTen runs.
        repeat: Tokens that stock CrypTen reads; of ours, the last so many of the text count. Medians are kept.
        device: Where our parties compute; CrypTen's use the CPU.
    """

    config: GPT2Config = field(default_factory=GPT2Config)
    prompt: int = 4
    new_tokens: int = 128
    stock_layers: int = 1
    repeat: int = 3
    device: str = "cpu"

    @property
    def context(self) -> int:
        """Tokens that the last one is read after."""
        return self.prompt + self.new_tokens - 2


@dataclass(frozen=True)
class Text:
    """What a whole text took.

    Attributes:
        tokens: New tokens.
        online_bytes: What both parties sent while it was written.
        offline_bytes: What the dealer sent for it.
        load_bytes: What loading the two programs sent, once for all texts.
        online_seconds: The sum of the calls, the slower party of each.
        offline_seconds: The same of their randomness.
        peak_bytes: Most memory that (rank 0, rank 1) held, after the first token and after the last.
        same: How many of the new tokens are the plain model's, up to the first that is not.
    """

    tokens: int
    online_bytes: int
    offline_bytes: int
    load_bytes: int
    online_seconds: float
    offline_seconds: float
    peak_bytes: tuple[tuple[int, int], tuple[int, int]]
    same: int

    @property
    def bytes_in_all(self) -> int:
        """All that was sent for it by anyone, loading included."""
        return self.online_bytes + self.offline_bytes + self.load_bytes


@dataclass(frozen=True)
class Finish:
    """What was measured; seconds are medians.

    Attributes:
        ours: One token at the end of the text.
        stock: The same of stock CrypTen, for all layers.
        stock_as_run: Stock CrypTen, for the layers that it ran.
        text: Our whole text.
        compile_seconds: Compiling both programs, the first call of each included.
    """

    ours: Cost
    stock: Cost
    stock_as_run: Cost
    text: Text
    compile_seconds: float


class _Meter:
    """A streamer that notes what each token took."""

    def __init__(self, private: PrivateModel, say: Say) -> None:
        self._private, self._say = private, say
        self.costs: list[Cost] = []
        self.sent: list[int] = []
        self.peaks: list[tuple[int, int]] = []
        self.started = time.perf_counter()
        self.first_seconds = 0.0

    def put(self, value: Tensor) -> None:
        if value.dim() > 1:
            return
        profile = self._private.last_profile()
        cost = profile.cost(OURS, 0.0)
        self.costs.append(cost)
        self.sent.append(sum(sum(row.bytes_sent) for row in profile.rows))
        self.peaks.append(profile.peak_bytes)
        if len(self.costs) == 2:  # noqa: PLR2004 - both programs have run once
            self.first_seconds = time.perf_counter() - self.started
        if len(self.costs) % 16 == 1:
            self._say(f"{OURS}: token {len(self.costs)}, {cost.online_seconds:.2f} s online")

    def end(self) -> None:
        self._say(f"{OURS}: {len(self.costs)} tokens")


def decode(course: Course, say: Say) -> Finish:
    """Run a course and return what each way took."""
    say(f"compiling {course.config.n_layer} layers, a prompt of {course.prompt} tokens and one token after it")
    ours, text, compile_seconds = _ours(course, say)
    say(f"compiling {course.stock_layers} layers for stock CrypTen")
    stock_as_run, stock = _stock(course, say)
    return Finish(ours, stock, stock_as_run, text, compile_seconds)


def _ours(course: Course, say: Say) -> tuple[Cost, Text, float]:
    model, prompt = _model(course.config, course.config.n_layer), _ids(course, course.prompt)
    with mpccompile.compile(model, device=course.device) as private:
        meter = _Meter(private, say)
        ids = private.generate(prompt, max_new_tokens=course.new_tokens, streamer=meter)
        load = sum(load_bytes(package) for package in private.text_packages)
    (plain,) = continued(model, [prompt], course.new_tokens)
    text = Text(
        tokens=course.new_tokens,
        online_bytes=sum(meter.sent),
        offline_bytes=round(sum(cost.offline_bytes for cost in meter.costs)),
        load_bytes=load,
        online_seconds=sum(cost.online_seconds for cost in meter.costs),
        offline_seconds=sum(cost.offline_seconds for cost in meter.costs),
        peak_bytes=(meter.peaks[1], meter.peaks[-1]),
        same=int(torch.eq(ids, plain)[0, course.prompt :].long().cumprod(0).sum()),
    )
    return middle(OURS, meter.costs[-course.repeat :]), text, meter.first_seconds


def load_bytes(package: Package) -> int:
    """Return what rank 0 sends rank 1 when a package is loaded: each weight less its mask, in words of the ring."""
    manifest = json.loads((package.folder / "manifest.json").read_text(encoding="utf-8"))
    shapes = static_shapes(read_plan(package.folder), ProgramDescription.from_json(manifest["program"]))
    return WORD_BYTES * sum(torch.Size(shape).numel() for shape in shapes.values())


def _stock(course: Course, say: Say) -> tuple[Cost, Cost]:
    model = _model(course.config, course.stock_layers)
    reader, inputs = ReadToken(model), token_with_cache(model, _ids(course, course.context + 1))
    with warnings.catch_warnings():
        # Told in the output: that is how stock CrypTen runs.
        warnings.filterwarnings("ignore", "dealer='insecure-local'", UserWarning)
        with mpccompile.compile(reader, example_inputs=inputs, target="crypten", dealer="insecure-local") as private:
            costs = []
            for _ in range(course.repeat):
                private(**inputs)
                costs.append(private.last_profile().cost(STOCK, 0.0))
                say(f"{STOCK}: {costs[-1].seconds:.2f} s")
            found = middle(STOCK, costs)
            whole = scaled(found, private.last_profile(), course.config.n_layer / course.stock_layers)
    return found, whole


def token_with_cache(model: nn.Module, ids: Tensor) -> dict[str, Tensor]:
    """Return the inputs of :class:`ReadToken` for the last of ids [1, T], with the keys and values of the others."""
    with as_for_inference(model):
        rows = ReadPrompt(model)(ids[:, :-1])
    cache: Mapping[str, Tensor] = {name: value for name, value in rows.items() if name != "logits"}
    return {**token_inputs(ids[:, -1:], ids.shape[1] - 1, ids.shape[1] - 1), **cache}


def _model(config: GPT2Config, layers: int) -> GPT2LMHeadModel:
    changed = GPT2Config(**{**config.to_dict(), "n_layer": layers})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = GPT2LMHeadModel(changed)
    model.eval()
    return model


def _ids(course: Course, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(SEED)
    return torch.randint(course.config.vocab_size, (1, count), generator=generator)
