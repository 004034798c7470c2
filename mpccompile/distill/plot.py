"""Pictures of a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mpccompile.atomic import replacing

if TYPE_CHECKING:
    from mpccompile.distill.history import Record


def plot_losses(records: Sequence[Record], folder: Path) -> None:
    """Draw the loss of each stage over its steps, and its validations, to ``loss.png`` and ``loss.svg``."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    stages = list(dict.fromkeys(record.stage for record in records))
    figure = Figure(figsize=(6.0 * max(1, len(stages)), 4.0), layout="constrained")
    for place, stage in enumerate(stages):
        axes = figure.add_subplot(1, len(stages), place + 1)
        mine = [record for record in records if record.stage == stage]
        lines = {"loss": [record.loss for record in mine]}
        for part in ("attention", "hidden"):
            values = [value for record in mine if (value := getattr(record, part)) is not None]
            if len(values) == len(mine):
                lines[part] = values
        for name, values in lines.items():
            axes.plot([record.step for record in mine], values, label=name, linewidth=1.0)
        judged = [(record.step, record.validation_loss) for record in mine if record.validation_loss is not None]
        if judged:
            axes.plot(*zip(*judged, strict=True), "o-", label="validation", markersize=3.0)
        if all(value > 0 for values in lines.values() for value in values):
            axes.set_yscale("log")
        axes.set(title=f"stage of {stage}", xlabel="step", ylabel="loss")
        axes.legend()
    # Without these two an SVG has random names and the date in it.
    with rc_context({"svg.hashsalt": "mpccompile"}), replacing(folder / "loss.svg") as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})
    with replacing(folder / "loss.png") as temporary:
        figure.savefig(temporary, format="png", dpi=150)
