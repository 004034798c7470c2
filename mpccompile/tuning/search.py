"""Greedy search: the approximation that saves most seconds for what it loses, again and again, within the budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mpccompile.ir.network import Seconds
    from mpccompile.tuning.measure import Loss
    from mpccompile.tuning.sites import Move

TAKEN, OVER_BUDGET, SAVES_NOTHING, OTHER_TAKEN = "taken", "over the budget", "saves nothing", "site has another"
OVER_SIMULATED = "over the budget, simulated"

Progress = Callable[[str, int, int], None]


class Measured(Protocol):
    """What a search asks of a model."""

    def loss(self, moves: tuple[Move, ...]) -> Loss:
        """Return what some approximations lose together, in float32: quick, to choose by."""
        ...

    def simulated(self, moves: tuple[Move, ...]) -> Loss:
        """Return what they lose in fixed point, as a private run would: slow, to confirm a choice."""
        ...

    def seconds(self, moves: tuple[Move, ...]) -> Seconds:
        """Return what the model takes with them."""
        ...


@dataclass(frozen=True)
class Trial:
    """One approximation at one site, as the search saw it last.

    Attributes:
        move: Which.
        saved: Seconds a call that it saves alone; negative when it costs some.
        beside: What was taken at other sites when its loss was measured.
        loss: What is lost with it and what was taken; None when it saves nothing and was not run.
        added: Accuracy lost by it beyond what was taken.
        verdict: What became of it; empty while that is open.
        simulated: What is lost with it and what was taken in a simulated run; None when that was not run.
    """

    move: Move
    saved: float
    beside: tuple[Move, ...] = ()
    loss: Loss | None = None
    added: float = 0.0
    verdict: str = ""
    simulated: Loss | None = None


@dataclass(frozen=True)
class Found:
    """Where a search ended.

    Attributes:
        moves: The approximations taken, in order.
        trials: Every approximation at every site.
        exact: What the model takes without any.
        tuned: What it takes with those taken.
        loss: What those lose in float32.
        baseline: What the exact model loses in a simulated run; None when nothing was simulated.
        simulated: What the model loses in one with those taken.
    """

    moves: tuple[Move, ...]
    trials: tuple[Trial, ...]
    exact: Seconds
    tuned: Seconds
    loss: Loss
    baseline: Loss | None = None
    simulated: Loss | None = None


class Search:
    """Takes approximations until every other would lose more than the budget.

    Candidates are ranked by seconds saved per accuracy lost. Losses do not add up, so the first of the ranking is
    measured again beside what has been taken since, and decided on when it still is the first (lazy greedy: Minoux,
    "Accelerated greedy algorithms for maximizing submodular set functions", 1978). One that does not fit is
    left for the end; one that saves more than what its site has may take its place. Savings add up but for rounds that
    run side by side, so all of it is priced again before one is taken; and it is simulated, as float32 leaves out what
    fixed point adds. What loses too much then is left, and the next best is tried.

    Args:
        measured: The model.
        budget: Most accuracy that may be lost.
        finest: The smallest accuracy that counts, one example: what loses nothing ranks as if it lost half of it.
        progress: Told what is measured, how much is done, and how much there is at least.
        simulate: Whether to confirm by simulations what is taken.
    """

    def __init__(
        self, measured: Measured, budget: float, finest: float, progress: Progress, *, simulate: bool = True
    ) -> None:
        self._measured = measured
        self._budget = budget
        self._finest = finest
        self._progress = progress
        self._done = 0
        self._taken: tuple[Move, ...] = ()
        self._loss = measured.loss(())
        self._exact = self._tuned = measured.seconds(())
        self._trials: dict[Move, Trial] = {}
        self._simulate = simulate
        self._baseline = self._confirmed = self._simulated((), 0)

    def run(self, moves: tuple[Move, ...]) -> Found:
        """Try the moves and return what was taken."""
        for move, saved in self._savings(moves).items():
            self._trials[move] = Trial(move, saved, verdict="" if saved > 0 else SAVES_NOTHING)
        for trial in self._open():
            self._trials[trial.move] = self._lost(trial)
        while candidates := self._open() or self._second_chances():
            best = max(candidates, key=self._rank)
            fresh = best.loss is not None and best.beside == self._beside(best)
            self._trials[best.move] = self._decided(best) if fresh else self._lost(best)
        self._progress("", self._done, self._done)
        trials, seconds = tuple(self._trials.values()), (self._exact, self._tuned)
        return Found(self._taken, trials, *seconds, self._loss, self._baseline, self._confirmed)

    def _open(self) -> list[Trial]:
        return [trial for trial in self._trials.values() if not trial.verdict]

    def _second_chances(self) -> list[Trial]:
        """Open again what did not fit beside less than is taken now: losses can make up for each other."""
        for trial in list(self._trials.values()):
            if (
                trial.verdict in {OVER_BUDGET, OVER_SIMULATED}
                and trial.beside != self._beside(trial)
                and self._gain(trial) > 0
            ):
                self._trials[trial.move] = replace(trial, verdict="")
        return self._open()

    def _rank(self, trial: Trial) -> tuple[float, float]:
        error = 0.0 if trial.loss is None else trial.loss.error
        return self._gain(trial) / max(trial.added, self._finest / 2), -error

    def _gain(self, trial: Trial) -> float:
        """Return what a move saves more than what its site has."""
        return trial.saved - sum(self._trials[move].saved for move in self._taken if move.site == trial.move.site)

    def _beside(self, trial: Trial) -> tuple[Move, ...]:
        """Return what is taken at other sites: at its own a move takes the place of what is there."""
        return tuple(move for move in self._taken if move.site != trial.move.site)

    def _savings(self, moves: tuple[Move, ...]) -> dict[Move, float]:
        """Return what each saves alone; equal functions of equal shapes are priced once."""
        prices: dict[tuple[object, ...], float] = {}
        savings = {}
        for move in moves:
            kind = (move.site.function, move.site.shapes or move.site.module_path, move.name)
            if kind not in prices:
                self._tell(f"pricing {move.site.function}={move.name}", len(moves))
                prices[kind] = self._exact.total - self._measured.seconds((move,)).total
            savings[move] = prices[kind]
        return savings

    def _lost(self, trial: Trial) -> Trial:
        """Measure what a move loses beside those taken."""
        self._tell(f"running {trial.move.site.module_path}: {trial.move.name}", len(self._open()))
        beside = self._beside(trial)
        loss = self._measured.loss((*beside, trial.move))
        return replace(trial, beside=beside, loss=loss, added=loss.lost - self._loss.lost, simulated=None)

    def _simulated(self, moves: tuple[Move, ...], left: int) -> Loss | None:
        if not self._simulate:
            return None
        self._tell(f"simulating {moves[-1].site.module_path if moves else 'the exact model'}", left)
        return self._measured.simulated(moves)

    def _decided(self, trial: Trial) -> Trial:
        if trial.loss is None or trial.loss.lost > self._budget:
            return replace(trial, verdict=OVER_BUDGET)
        moves = (*self._beside(trial), trial.move)
        self._tell("pricing what is taken", len(self._open()))
        seconds = self._measured.seconds(moves)
        if seconds.total >= self._tuned.total:
            return replace(trial, verdict=SAVES_NOTHING)
        simulated = self._simulated(moves, len(self._open()))
        if simulated is not None and simulated.lost > self._budget:
            return replace(trial, verdict=OVER_SIMULATED, simulated=simulated)
        self._taken, self._tuned, self._loss, self._confirmed = moves, seconds, trial.loss, simulated
        self._close_others(trial)
        return replace(trial, verdict=TAKEN, simulated=simulated)

    def _close_others(self, taken: Trial) -> None:
        """Give up what a site had, and what would save less there than it has now."""
        for other in list(self._trials.values()):
            same = other.move.site == taken.move.site and other.move != taken.move
            if same and (other.verdict == TAKEN or (not other.verdict and other.saved <= taken.saved)):
                self._trials[other.move] = replace(other, verdict=OTHER_TAKEN)

    def _tell(self, what: str, left: int) -> None:
        self._progress(what, self._done, self._done + left)
        self._done += 1
