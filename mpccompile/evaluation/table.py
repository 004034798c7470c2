"""An evaluation as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from mpccompile.evaluation.evaluate import Evaluation
    from mpccompile.evaluation.score import Score
    from mpccompile.evaluation.statistics import Estimate

COLUMNS = ("accuracy", "as plaintext", "as approximated", "mean error", "largest error", "no answer", "s an example")


def table(evaluation: Evaluation) -> Table:
    """Return a row for each way, and below what has to be known to read it."""
    result = Table(title=f"{evaluation.name}: {evaluation.examples} examples, {evaluation.batch_size} to a call")
    result.add_column("")
    for name in COLUMNS:
        result.add_column(name, justify="right")
    for each in evaluation.scores:
        result.add_row(each.name, *_cells(each))
    result.caption = " ".join(_remarks(evaluation))
    return result


def _cells(each: Score) -> list[str]:
    error = each.mean_error
    return [
        _share(each.accuracy),
        _share(each.agreement),
        _share(each.approximated_agreement),
        "" if error is None else f"{error.value:.1e} ({error.low:.1e} to {error.high:.1e})",
        "" if each.largest_error is None else f"{each.largest_error:.1e}",
        str(each.unanswered),
        f"{each.seconds:.4f}",
    ]


def _share(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return f"{estimate.value:.1%} ({estimate.low:.1%} to {estimate.high:.1%})"


def _remarks(evaluation: Evaluation) -> list[str]:
    remarks = ["In brackets: 95 % confidence. Errors are an example's largest difference of a score from plaintext's."]
    told = evaluation.forecast
    if told is not None:
        remarks.append(
            f"Simulated and private give the same class on {told.same} of {told.examples};"
            f" their scores differ by {told.largest_difference:.1e} at most."
        )
    for each in evaluation.scores:
        if each.unanswered:
            reasons = "; ".join(f"{why} ({count} examples)" for why, count in each.refusals.items())
            remarks.append(f"No answer ({each.name}), counted as wrong: {reasons}.")
    return remarks
