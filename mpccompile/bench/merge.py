"""The tables of MERGE (Liang et al., AAAI 2024): what its parts save a text of GPT-2, here and in stock CrypTen.

Both engines get the baseline that the paper's lacks: a cache, a client that picks the tokens, LayerNorm, a causal
mask. Each length is a part, written down as it is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import GPT2Config

from mpccompile.bench import merge_report as report
from mpccompile.bench.machine import machine
from mpccompile.bench.merge_ours import text_here
from mpccompile.bench.merge_stock import text_in_stock
from mpccompile.bench.merge_text import Text
from mpccompile.bench.merge_variants import VARIANTS, Variant
from mpccompile.bench.parts import Pair, Part, Record, chosen, measure_all

if TYPE_CHECKING:
    from rich.console import Console

    from mpccompile.bench.race import Say

TABLE = "gpt2"
TEXTS = tuple(Text(length) for length in (64, 128, 256, 512))
_TINY = GPT2Config(vocab_size=200, n_embd=32, n_layer=3, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=0)
QUICK = (Text(24, our_layers=2, config=_TINY),)


@dataclass(frozen=True)
class Setting:
    """What to run.

    Attributes:
        texts: One part each.
        only: Patterns of parts, such as ``gpt2/128``; empty for all.
        repeat: Steps of each engine that count; medians are kept.
        device: Where mpccompile's parties compute; CrypTen's use the CPU.
    """

    texts: tuple[Text, ...] = TEXTS
    only: tuple[str, ...] = ()
    repeat: int = 2
    device: str = "cpu"


def run(setting: Setting, console: Console | None = None, path: Path | None = None) -> tuple[Part, ...]:
    """Measure the parts that are asked for, print each when it is done, and conclude.

    Args:
        setting: What to run.
        console: Where to tell of progress and print the tables.
        path: The file to write parts to as they are measured; parts of earlier runs stay in it.

    Raises:
        OptionError: If nothing is asked for, or the file holds something else.
    """
    say: Say = console.print if console is not None else str
    record = Record(path, machine(), setting.repeat)
    record.kept()
    texts = {str(text.length): text for text in setting.texts}
    parts = chosen([Part(TABLE, name, f"GPT-2, a text of {name} tokens") for name in texts], setting.only)
    for part in parts:
        measure_all(part, _ways(texts[part.place], setting), record, say)
        if console is not None:
            report.print_part(part, console)
    return tuple(parts)


def _ways(text: Text, setting: Setting) -> Iterator[tuple[str, Callable[[], Pair]]]:
    for name, variant in VARIANTS.items():
        yield name, partial(_pair, name, variant, text, setting)


def _pair(name: str, variant: Variant, text: Text, setting: Setting) -> Pair:
    ours, peak_bytes = text_here(variant, text, setting.repeat, setting.device)
    ran = f"of {text.layers} layers we ran {text.our_layers} and stock CrypTen {text.stock_layers}"
    return Pair(name, ours, text_in_stock(variant, text, setting.repeat), peak_bytes, ran)
