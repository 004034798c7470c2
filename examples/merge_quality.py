"""What MERGE's two parts cost in quality: a small GPT-2 completes code exactly, by ER, by MM, and by both.

ER goes on from hidden states instead of tokens; MM has constant attention and Quad; Quad+2Quad is MPCFormer's. Each is
measured before and after training, on files of Python's standard library that no training has seen. Run it with:

python examples/merge_quality.py --folder run          # 4 layers x 256, three seeds; started again, it goes on
python examples/merge_quality.py --precision bfloat16  # faster where the processor is, such as a CPU with AMX
python examples/merge_quality.py --quick               # a toy, to see that everything works
"""

from __future__ import annotations

import argparse
import csv
import math
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any, Literal

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel

import mpccompile
from mpccompile.distill import MERGE_EFFECTIVE, DistillationConfig, Stage, TextLoss
from mpccompile.distill.graphs import logits_of, probed
from mpccompile.distill.resent import Resending
from mpccompile.distill.text_sites import text_sites
from mpccompile.merge.extract import averages
from mpccompile.merge.reuse import scale_to_embeddings
from mpccompile.merge.rewrite import RESIDUAL, MergeConfig, merged

if TYPE_CHECKING:
    from mpccompile.ir.program import Program

CHARACTERS, NEW_TOKENS = 128, 16
LEFT_OUT = frozenset({"site-packages", "test", "tests", "idlelib", "lib2to3", "encodings", "__pycache__"})
HELD_OUT_EVERY = 10
SPACES = "nothing but spaces"
CHEAP = {"gelu": "quad", "softmax": "2quad"}


@dataclass(frozen=True)
class Setting:
    """How large everything is.

    Attributes:
        layers: Of the GPT-2.
        width: Its hidden size.
        context: Its positions, and the characters of a row.
        batch: Rows of a step.
        teacher_steps: Steps that train the exact model, once for all seeds: every other model is made of it.
        steps: Steps that train each other model.
        prompts: Held-out texts to complete, and to read for the perplexity.
        seeds: Of the other models' trainings, and of the texts whose attention is averaged.
        device: Where to train.
        precision: In what the products of a step are computed.
    """

    layers: int = 4
    width: int = 256
    context: int = 128
    batch: int = 16
    teacher_steps: int = 5000
    steps: int = 400
    prompts: int = 256
    seeds: tuple[int, ...] = (0, 1, 2)
    device: str = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"


QUICK = Setting(layers=2, width=64, context=48, teacher_steps=40, steps=8, prompts=8, seeds=(0,))


@dataclass(frozen=True)
class Outcome:
    """How well one model completes code.

    Attributes:
        arm: Which model.
        seed: Of its training; the exact model's is always 0.
        perplexity: Of a character, reading held-out text; None where a model does not read the tokens it writes.
        right: Share of the next 16 characters that are the file's own.
        exact: Share of the texts in which all 16 are.
        seconds: What training and measuring took.
    """

    arm: str
    seed: int
    perplexity: float | None
    right: float
    exact: float
    seconds: float


def source() -> tuple[Tensor, Tensor]:
    """Return the characters of the standard library's files, [T] each: those to train on, and those held out."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = [file for file in sorted(root.rglob("*.py")) if not LEFT_OUT & set(file.relative_to(root).parts)]
    texts = [bytearray(file.read_bytes()) for file in files]
    parts = [torch.frombuffer(text, dtype=torch.uint8).clamp(max=CHARACTERS - 1) for text in texts if text]
    held = parts[::HELD_OUT_EVERY]
    return torch.cat([part for at, part in enumerate(parts) if at % HELD_OUT_EVERY]), torch.cat(held)


def rows_of(text: Tensor, count: int, length: int, seed: int) -> Tensor:
    """Return rows of a text, [count, length], from places that the seed draws."""
    starts = torch.randint(0, len(text) - length, (count,), generator=torch.Generator().manual_seed(seed))
    return torch.stack([text[start : start + length] for start in starts.tolist()]).long()


class Quality:
    """Trains and measures all models of one seed.

    Args:
        setting: How large.
        seed: Of the weights, the rows and the dropout.
        folder: Where trainings are kept; None keeps none.
    """

    def __init__(self, setting: Setting, seed: int, folder: Path | None) -> None:
        self.setting, self.seed, self.folder = setting, seed, folder
        self.train, self.held = source()
        self.prompts = rows_of(self.held, setting.prompts, setting.context, seed=1_000)
        config = GPT2Config(
            vocab_size=CHARACTERS,
            n_embd=setting.width,
            n_layer=setting.layers,
            n_head=4,
            n_positions=setting.context,
            bos_token_id=0,
            eos_token_id=0,
        )
        torch.manual_seed(0)
        fresh = GPT2LMHeadModel(config).eval()
        plan = replace(self.plan(TextLoss(alignment=0.0), 1.5e-3), seed=0)
        self.teacher = self.trained("exact", fresh, plan, steps=setting.teacher_steps)[0]

    def plan(self, loss: TextLoss, rate: float = 5e-4) -> DistillationConfig:
        """Return how a model is trained on text."""
        text = Stage(1, rate, "linear", 0.1)
        return DistillationConfig.merge(
            epochs=1,
            loss=loss,
            text=text,
            seed=self.seed,
            select="last",
            device=self.setting.device,
            precision=self.setting.precision,
        )

    def program(self, model: GPT2LMHeadModel, **options: Any) -> Program:
        """Return the program of a model that reads a batch of rows."""
        return mpccompile.program(model, {"input_ids": self.prompts[: self.setting.batch]}, **options)

    def trained(
        self, name: str, model: GPT2LMHeadModel, plan: DistillationConfig, steps: int = 0, **options: Any
    ) -> tuple[GPT2LMHeadModel, Program]:
        """Return a trained model, and its program with what the options replace."""
        count, length = (steps or self.setting.steps) * self.setting.batch, self.setting.context
        rows = rows_of(self.train, count, length, seed=len(name) + 100 * plan.seed)
        place = None if self.folder is None else self.folder / f"{name}-{plan.seed}"
        teacher = None if plan.logits is None else self.teacher
        result = mpccompile.distill(
            teacher, self.program(model, **options), {"input_ids": rows}, config=plan, folder=place
        )
        result.load_into(model)
        return model, result.program

    def merged(self, config: MergeConfig = RESIDUAL) -> GPT2LMHeadModel:
        """Return the teacher with constant attention, untrained."""
        texts = rows_of(self.train, 512, self.setting.context, seed=self.seed).split(64)
        found = averages(self.teacher, [{"input_ids": ids} for ids in texts])
        model: GPT2LMHeadModel = merged(self.teacher, found, config)
        return model

    def scale(self, model: GPT2LMHeadModel) -> float:
        """Return what makes a model's hidden states as long as its embeddings."""
        return scale_to_embeddings(model, [rows_of(self.train, 64, self.setting.context, seed=self.seed)])

    def exact(self) -> tuple[Program, float | None]:
        """The model as it is."""
        return self.program(self.teacher), None

    def cheap_untrained(self) -> tuple[Program, float | None]:
        """MPCFormer's functions in the place of GELU and softmax."""
        return self.program(self.teacher, **CHEAP), None

    def cheap(self) -> tuple[Program, float | None]:
        """The same, distilled in MPCFormer's two stages."""
        half = replace(self.setting, steps=self.setting.steps // 2)
        plan = replace(
            self.plan(TextLoss(alignment=0.0)), layers=Stage(1, 5e-4), logits=Stage(1, 5e-4, "linear", 0.1), text=None
        )
        copy = GPT2LMHeadModel(self.teacher.config).eval()
        copy.load_state_dict(self.teacher.state_dict())
        return self.trained("cheap", copy, plan, steps=half.steps, **CHEAP)[1], None

    def reuse_untrained(self) -> tuple[Program, float | None]:
        """Hidden states in the place of embeddings, in a model that was not trained for it."""
        return self.program(self.teacher), 1.0

    def reuse(self, loss: TextLoss, name: str) -> tuple[Program, float | None]:
        """The same, trained."""
        copy = GPT2LMHeadModel(self.teacher.config).eval()
        copy.load_state_dict(self.teacher.state_dict())
        scale = self.scale(copy) if loss.resent else 1.0
        return self.trained(name, copy, self.plan(replace(loss, scale=scale)))[1], scale

    def constant_untrained(self) -> tuple[Program, float | None]:
        """Constant attention and Quad."""
        return self.program(self.merged(), gelu="quad"), None

    def constant(self, form: MergeConfig, name: str) -> tuple[Program, float | None]:
        """The same, trained."""
        plan = self.plan(TextLoss(alignment=0.0))
        return self.trained(name, self.merged(form), plan, gelu="quad")[1], None

    def both(self, loss: TextLoss, name: str) -> tuple[Program, float | None]:
        """Constant attention and Quad, going on from hidden states."""
        model = self.merged()
        scale = self.scale(model) if loss.resent else 1.0
        return self.trained(name, model, self.plan(replace(loss, scale=scale)), gelu="quad")[1], scale


RESENT = TextLoss(resent=1)
ARMS: dict[str, Callable[[Quality], tuple[Program, float | None]]] = {
    "exact": Quality.exact,
    "Quad+2Quad, untrained": Quality.cheap_untrained,
    "Quad+2Quad": Quality.cheap,
    "ER, untrained": Quality.reuse_untrained,
    "ER, as MERGE trains": lambda one: one.reuse(MERGE_EFFECTIVE, "reuse-merge"),
    "ER": lambda one: one.reuse(RESENT, "reuse"),
    "MM, untrained": Quality.constant_untrained,
    "MM": lambda one: one.constant(RESIDUAL, "constant"),
    "MM, mix first": lambda one: one.constant(MergeConfig("mix-first"), "mix-first"),
    "ER+MM, as MERGE trains": lambda one: one.both(MERGE_EFFECTIVE, "both-merge"),
    "ER+MM": lambda one: one.both(RESENT, "both"),
}
"""The models: each with its program, and what scales its hidden states to embeddings if it goes on from them."""


def batched(rows: Tensor, size: int) -> Iterator[tuple[Tensor, int]]:
    """Go through rows in full batches; the last one repeats its rows. Yields how many count."""
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        yield part.repeat(-(-size // len(part)), 1)[:size], len(part)


def perplexity(program: Program, rows: Tensor) -> float:
    """Return the perplexity of a character of rows [N, T] that a program reads."""
    total, size = 0.0, program.inputs[0].shape[0]
    with torch.no_grad():
        for ids, count in batched(rows, size):
            logits = program.module(ids)[logits_of(program)][:count, :-1]
            losses = functional.cross_entropy(logits.flatten(0, 1), ids[:count, 1:].flatten(), reduction="sum")
            total += float(losses)
    return math.exp(total / (len(rows) * (rows.shape[1] - 1)))


def by_tokens(program: Program, ids: Tensor, length: int) -> Tensor:
    """Return rows [B, T] whose characters from ``length`` on are the program's own, each read before the next."""
    written = ids.clone()
    for place in range(length, ids.shape[1]):
        written[:, place] = program.module(written)[logits_of(program)][:, place - 1].argmax(-1)
    return written


def by_hidden_states(program: Program, ids: Tensor, length: int, scale: float) -> Tensor:
    """Return the same by embedding resending: each reading makes one more hidden state final."""
    sites = text_sites(program)
    graph = probed(program, program.module, [sites.hidden])
    resending, starts = Resending(graph, sites, scale, drawn=False), torch.full((len(ids), 1), length)
    values: Mapping[str, Tensor]
    logits, values = graph({"input_ids": ids})
    for _place in range(length, ids.shape[1] - 1):
        logits, values = resending({"input_ids": ids}, values, starts)
    written = ids.clone()
    written[:, length:] = logits[:, length - 1 : -1].argmax(-1)
    return written


def measured(program: Program, scale: float | None, rows: Tensor) -> tuple[float | None, float, float]:
    """Return the perplexity, the share of right characters among the last 16 of rows [N, T], and of rows all right."""
    length, right, exact = rows.shape[1] - NEW_TOKENS, 0.0, 0.0
    with torch.no_grad():
        for ids, count in batched(rows, program.inputs[0].shape[0]):
            # What comes after the prompt is not there to be read.
            prompt = torch.cat([ids[:, :length], torch.zeros_like(ids[:, length:])], 1)
            if scale is None:
                written = by_tokens(program, prompt, length)
            else:
                written = by_hidden_states(program, prompt, length, scale)
            same = (written == ids)[:count, length:]
            right += float(same.float().mean(-1).sum())
            exact += float(same.all(-1).sum())
    reads = perplexity(program, rows) if scale is None else None
    return reads, right / len(rows), exact / len(rows)


def spaces(seed: int, rows: Tensor) -> Outcome:
    """Return how many characters are right where nothing but spaces is written: code has many."""
    same = rows[:, -NEW_TOKENS:] == ord(" ")
    return Outcome(SPACES, seed, None, float(same.float().mean()), float(same.all(-1).float().mean()), 0.0)


def shown(outcomes: Sequence[Outcome]) -> Table:
    """Return one line per model: means over the seeds, and deviations where there are several."""
    table = Table(title=f"Completing code: the next {NEW_TOKENS} characters of held-out files")
    for name in ("", "perplexity", "characters right", "all right", "seeds", "seconds"):
        table.add_column(name, justify="right" if name else "left")
    for arm in dict.fromkeys(outcome.arm for outcome in outcomes):
        mine = [outcome for outcome in outcomes if outcome.arm == arm]
        reads = [outcome.perplexity for outcome in mine if outcome.perplexity is not None]
        table.add_row(
            arm,
            spread(reads, "{:.2f}"),
            spread([outcome.right for outcome in mine], "{:.1%}"),
            spread([outcome.exact for outcome in mine], "{:.1%}"),
            str(len(mine)),
            f"{mean(outcome.seconds for outcome in mine):.0f}",
        )
    return table


def spread(values: Sequence[float], form: str) -> str:
    """Return a mean and a standard deviation as text."""
    if not values:
        return "-"
    deviation = f" ± {form.format(stdev(values))}" if len(values) > 1 else ""
    return form.format(mean(values)) + deviation


def save(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write one line per outcome."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Outcome)])
        writer.writeheader()
        writer.writerows(asdict(outcome) for outcome in outcomes)


def main(setting: Setting = QUICK, folder: Path | None = None, arms: Sequence[str] = tuple(ARMS)) -> list[Outcome]:
    """Train and measure, print a table after each seed, and return what it is made of."""
    outcomes: list[Outcome] = []
    for seed in setting.seeds:
        begun = time.perf_counter()
        quality = Quality(setting, seed, folder)
        outcomes.append(spaces(seed, quality.prompts))
        for arm in arms:
            program, scale = ARMS[arm](quality)
            found = measured(program, scale, quality.prompts)
            outcomes.append(Outcome(arm, seed, *found, time.perf_counter() - begun))
            begun = time.perf_counter()
            if folder is not None:
                save(outcomes, folder / "quality.csv")
        Console().print(shown(outcomes))
    return outcomes


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a toy, in a minute")
    parser.add_argument("--folder", type=Path, help="keep trainings and quality.csv here, and go on from them")
    parser.add_argument("--seeds", type=int, default=None, help="how many")
    parser.add_argument("--steps", type=int, default=None, help="of each student; the teacher takes twelve times that")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"), help="of training")
    parser.add_argument("--arms", nargs="*", default=tuple(ARMS), choices=tuple(ARMS), metavar="ARM")
    given = parser.parse_args()
    chosen = replace(QUICK if given.quick else Setting(), device=given.device, precision=given.precision)
    if given.seeds is not None:
        chosen = replace(chosen, seeds=tuple(range(given.seeds)))
    if given.steps is not None:
        chosen = replace(chosen, steps=given.steps, teacher_steps=12 * given.steps)
    if given.folder is not None:
        given.folder.mkdir(parents=True, exist_ok=True)
    main(chosen, given.folder, given.arms)
