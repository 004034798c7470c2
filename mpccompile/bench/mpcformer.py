"""The tables of MPCFormer (Li et al., ICLR 2023) on this engine, beside stock CrypTen on the same graphs.

One table prices the functions that it replaces, alone; the other one whole models. Each is made for several settings,
and a setting's table is a part: written down as it is measured, and no reason for the others to stop when it fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import BertConfig

from mpccompile.bench import mpcformer_report as report
from mpccompile.bench.function_costs import FUNCTIONS, MOST_ELEMENTS, Size, measure
from mpccompile.bench.machine import machine
from mpccompile.bench.parts import Pair, Part, Record, chosen, measure_all
from mpccompile.bench.race import Course, Say, race

if TYPE_CHECKING:
    from rich.console import Console

TABLES = ("functions", "models")
GRAPHS: Mapping[str, Mapping[str, Any]] = {
    report.EXACT: {},
    "Quad + 2ReLU": {"gelu": "quad", "softmax": "2relu"},
    "Quad + 2Quad": {"gelu": "quad", "softmax": "2quad"},
}
QUERY_SCALE = 2.0
"""Scores of BERT with random weights then lie within 3 to 4 of 0, about as the approximations take them to."""


@dataclass(frozen=True)
class Place:
    """One setting.

    Attributes:
        name: What ``--only`` calls it.
        title: The same in words.
        config: The model.
        tokens: Length of the input, batch 1.
        our_layers: Layers that we run.
        stock_layers: Layers that stock CrypTen runs.
        tables: The tables that have it.
    """

    name: str
    title: str
    config: BertConfig
    tokens: int
    our_layers: int
    stock_layers: int = 1
    tables: tuple[str, ...] = TABLES

    @property
    def layers(self) -> int:
        """Layers of the model."""
        return int(self.config.num_hidden_layers)


_LARGE = BertConfig(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)
PLACES = (
    Place("bert-base-128", "BERT-base, 128 tokens", BertConfig(), 128, our_layers=12),
    Place("bert-base-512", "BERT-base, 512 tokens", BertConfig(), 512, our_layers=2),
    Place("bert-large-128", "BERT-large, 128 tokens", _LARGE, 128, our_layers=4, tables=("models",)),
)
QUICK = (replace(PLACES[0], our_layers=2),)


@dataclass(frozen=True)
class Setting:
    """What to run.

    Attributes:
        places: The settings of the tables.
        only: Patterns of ``table/setting`` or of a table; empty for everything.
        repeat: Runs of each engine, in turn; medians are kept.
        device: Where mpccompile's parties compute; CrypTen's use the CPU.
        most_elements: Elements that a function alone is run on; what more would take is scaled.
    """

    places: tuple[Place, ...] = PLACES
    only: tuple[str, ...] = ()
    repeat: int = 3
    device: str = "cpu"
    most_elements: int = MOST_ELEMENTS


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
    places = {place.name: place for place in setting.places}
    parts = chosen(parts_of(setting.places), setting.only)
    for part in parts:
        measure_all(part, _ways(part.table, places[part.place], setting, say), record, say)
        if console is not None:
            report.print_part(part, console)
    if console is not None:
        report.print_conclusion(parts, console)
    return tuple(parts)


def parts_of(places: Iterable[Place]) -> list[Part]:
    """Return the tables of some settings, nothing in them yet."""
    return [
        Part(table, place.name, f"{place.title}: {table}")
        for table in TABLES
        for place in places
        if table in place.tables
    ]


def _ways(table: str, place: Place, setting: Setting, say: Say) -> Iterator[tuple[str, Callable[[], Pair]]]:
    if table == "models":
        for name in GRAPHS:
            yield name, partial(_model, name, place, setting, say)
        return
    config, tokens = place.config, place.tokens
    for function in FUNCTIONS:
        scores, inner = (1, config.num_attention_heads, tokens, tokens), (1, tokens, config.intermediate_size)
        size = Size(scores if function.on_scores else inner, place.layers)
        yield (
            function.name,
            partial(measure, function, size, setting.repeat, setting.device, say, setting.most_elements),
        )


def _model(name: str, place: Place, setting: Setting, say: Say) -> Pair:
    course = Course(
        place.config,
        place.tokens,
        place.our_layers,
        place.stock_layers,
        setting.repeat,
        setting.device,
        dict(GRAPHS[name]),
        QUERY_SCALE,
    )
    finish = race(course, say)
    ran = f"of {place.layers} layers we ran {place.our_layers} and stock CrypTen {place.stock_layers}"
    return Pair(name, finish.ours, finish.stock, finish.peak_bytes, ran)
