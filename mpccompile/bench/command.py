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

    setting = benchmark.Setting(layers, stock_layers, tokens, repeat, device)
    setting = replace(setting, mpcformer=False, trained=False, truncations=0) if quick else setting
    result = benchmark.run(setting, Console())
    if json is not None:
        json.write_text(dumps(result.to_json(), indent=1) + "\n", encoding="utf-8")
