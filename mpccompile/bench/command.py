"""The commands under ``mpccompile bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Measure against stock CrypTen, on this machine.", no_args_is_help=True)


@app.callback()
def benchmarks() -> None:
    """Measure against stock CrypTen, on this machine."""


@app.command("bert-base")
def bert_base(
    layers: Annotated[int, typer.Option(min=1, help="Layers of the model.")] = 12,
    stock_layers: Annotated[int, typer.Option(min=1, help="Layers that stock CrypTen runs; the rest is scaled.")] = 1,
    tokens: Annotated[int, typer.Option(min=1, max=512, help="Length of the input.")] = 128,
    repeat: Annotated[int, typer.Option(min=1, help="Runs of each, in turn; medians are kept.")] = 3,
    device: Annotated[str, typer.Option(help="Where mpccompile's parties compute: cpu or cuda.")] = "cpu",
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Leave out MPCFormer's graph, trained weights and the count of truncations."),
    ] = False,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the result there as well.")] = None,
) -> None:
    """Run BERT-base with random weights, privately and by stock CrypTen in turn, and compare what they take."""
    from dataclasses import replace
    from json import dumps

    from rich.console import Console

    from mpccompile.bench import bert_base as benchmark
    from mpccompile.commands.files import check_writable

    check_writable(json)
    setting = benchmark.Setting(layers, stock_layers, tokens, repeat, device)
    setting = replace(setting, mpcformer=False, trained=False, truncations=0) if quick else setting
    result = benchmark.run(setting, Console())
    if json is not None:
        json.write_text(dumps(result.to_json(), indent=1) + "\n", encoding="utf-8")
    if not result.passed:
        raise typer.Exit(1)


@app.command("mpcformer")
def mpcformer(
    repeat: Annotated[int, typer.Option(min=1, help="Runs of each engine, in turn; medians are kept.")] = 3,
    device: Annotated[str, typer.Option(help="Where mpccompile's parties compute: cpu or cuda.")] = "cpu",
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="TABLE/SETTING", help="Run this part, such as models/bert-base-128 or functions; repeat."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="BERT-base with 128 tokens alone, one run of each, our 2 layers scaled.")
    ] = False,
    json: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write each part there when it is measured; others there stay."),
    ] = None,
) -> None:
    """Make MPCFormer's tables: its functions alone and in BERT, here and by stock CrypTen, and what they gain."""
    from rich.console import Console

    from mpccompile.bench import mpcformer as benchmark
    from mpccompile.commands.files import check_writable

    check_writable(json)
    places, runs = (benchmark.QUICK, 1) if quick else (benchmark.PLACES, repeat)
    parts = benchmark.run(benchmark.Setting(places, tuple(only or ()), runs, device), Console(), json)
    if any(part.failed for part in parts):
        raise typer.Exit(1)


@app.command("gpt2")
def gpt2(
    tokens: Annotated[int, typer.Option(min=2, help="Tokens of the text.")] = 128,
    stock_layers: Annotated[int, typer.Option(min=1, help="Layers that stock CrypTen runs; the rest is scaled.")] = 1,
    repeat: Annotated[int, typer.Option(min=1, help="Tokens of each that count; medians are kept.")] = 3,
    device: Annotated[str, typer.Option(help="Where mpccompile's parties compute: cpu or cuda.")] = "cpu",
    layers: Annotated[int, typer.Option(min=1, help="Layers of the model.")] = 12,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the result there as well.")] = None,
) -> None:
    """Let GPT-2 small with random weights write a text privately, and compare a token with stock CrypTen's."""
    from json import dumps

    from rich.console import Console
    from transformers import GPT2Config

    from mpccompile.bench import gpt2 as benchmark
    from mpccompile.bench.decoding import Course
    from mpccompile.commands.files import check_writable

    check_writable(json)
    config = GPT2Config(n_layer=layers)
    course = Course(config, new_tokens=tokens, stock_layers=stock_layers, repeat=repeat, device=device)
    result = benchmark.run(course, Console())
    if json is not None:
        json.write_text(dumps(result.to_json(), indent=1) + "\n", encoding="utf-8")
    if not result.passed:
        raise typer.Exit(1)


@app.command("merge")
def merge(
    repeat: Annotated[int, typer.Option(min=1, help="Steps of each engine that count; medians are kept.")] = 2,
    device: Annotated[str, typer.Option(help="Where mpccompile's parties compute: cpu or cuda.")] = "cpu",
    only: Annotated[
        list[str] | None, typer.Option(metavar="PART", help="Run this part, such as gpt2/128; repeat.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A tiny model and a short text, to see it work.")] = False,
    json: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write each part there when it is measured; others there stay."),
    ] = None,
) -> None:
    """Make MERGE's tables: texts of GPT-2 with embeddings resent, merged layers or both, here and in stock CrypTen."""
    from rich.console import Console

    from mpccompile.bench import merge as benchmark
    from mpccompile.commands.files import check_writable

    check_writable(json)
    texts, runs = (benchmark.QUICK, 1) if quick else (benchmark.TEXTS, repeat)
    parts = benchmark.run(benchmark.Setting(texts, tuple(only or ()), runs, device), Console(), json)
    if any(part.failed for part in parts):
        raise typer.Exit(1)
