"""What a search for approximations tried, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from mpccompile.tuning.search import TAKEN

if TYPE_CHECKING:
    from mpccompile.ir.network import Seconds
    from mpccompile.tuning.measure import Loss
    from mpccompile.tuning.search import Trial
    from mpccompile.tuning.tune import Tuned

COLUMNS = ("saves alone", "accuracy lost", "answers changed", "mean error", "simulated: lost", "changed")


def table(tuned: Tuned) -> Table:
    """Return a row for each approximation at each site, those taken first, and the sums below."""
    found = tuned.found
    title = f"{tuned.network.name}: at most {tuned.budget:.1%} of accuracy may be lost, {tuned.examples} examples"
    result = Table(title=title)
    result.add_column("site")
    result.add_column("approximation")
    for name in COLUMNS:
        result.add_column(name, justify="right")
    result.add_column("")
    if found.baseline is not None:
        result.add_row("the exact model", *[""] * 5, *_simulated(found.baseline), "")
    order = {move: index for index, move in enumerate(found.moves)}
    for trial in sorted(found.trials, key=lambda one: order.get(one.move, len(order))):
        result.add_row(*_row(trial), style="bold" if trial.verdict == TAKEN else None)
    saved = found.exact.total - found.tuned.total
    result.caption = (
        f"Losses are of a row together with those taken before it, in float32; what was to be taken was simulated too,"
        f" in fixed point. A call of {tuned.batch_size} is estimated to take"
        f" {_parts(found.exact)}; with what is taken {_parts(found.tuned)}, {saved / found.exact.total:.1%} less."
        f" That loses {tuned.loss.lost:.1%} of accuracy and changes {tuned.loss.changed:.1%} of the answers,"
        f" {'in float32' if found.simulated is None else 'simulated'}."
    )
    return result


def _row(trial: Trial) -> list[str]:
    move, loss = trial.move, trial.loss
    lost = [""] * 3 if loss is None else [f"{loss.lost:.1%}", f"{loss.changed:.1%}", f"{loss.error:.2g}"]
    name = f"{move.site.function}={move.name}"
    cells = [move.site.module_path or "the model itself", name, f"{1000 * trial.saved:.1f} ms", *lost]
    return [*cells, *_simulated(trial.simulated), trial.verdict]


def _simulated(loss: Loss | None) -> list[str]:
    if loss is None:
        return ["", ""]
    refused = f", {loss.refused:.1%} refused" if loss.refused else ""
    return [f"{loss.lost:.1%}", f"{loss.changed:.1%}{refused}"]


def _parts(seconds: Seconds) -> str:
    return (
        f"{seconds.total:.3g} s ({seconds.waiting:.2g} waiting, {seconds.sending:.2g} sending,"
        f" {seconds.dealing:.2g} dealing, {seconds.computing + seconds.preparing:.2g} computing)"
    )
