"""The search, over made-up models of which loss and seconds are known."""

from __future__ import annotations

from mpccompile.ir.network import Seconds
from mpccompile.tuning.measure import Loss
from mpccompile.tuning.search import OTHER_TAKEN, OVER_BUDGET, OVER_SIMULATED, SAVES_NOTHING, TAKEN, Search
from mpccompile.tuning.sites import Move, Site


def site(name, shape=(1,), function="gelu"):
    return Site(function, name, (shape,))


class Model:
    """Saves and loses what tables say; ``together`` is lost besides by any two moves."""

    def __init__(self, saved, lost, together=0.0, rounding=None):
        self.saved, self.lost, self.together, self.rounding = saved, lost, together, rounding or {}
        self.simulations = []
        self.runs, self.prices = [], []

    def loss(self, moves):
        self.runs.append(moves)
        lost = self.lost_by(moves)
        return Loss(1 - lost, lost, lost, lost)

    def lost_by(self, moves):
        return sum(self.lost[move] for move in moves) + self.together * (len(moves) > 1)

    def simulated(self, moves):
        self.simulations.append(moves)
        lost = self.lost_by(moves) + sum(self.rounding.get(move, 0.0) for move in moves)
        return Loss(1 - lost, lost, lost, lost)

    def seconds(self, moves):
        self.prices.append(moves)
        return Seconds(10 - sum(self.saved[move] for move in moves), 0.0, 0.0, 0.0, 0.0)


def verdicts(found):
    return {trial.move: trial.verdict for trial in found.trials}


def run(model, moves, budget, **choices):
    return Search(model, budget, 0.01, lambda *_step: None, **choices).run(moves)


A, B, C = (Move(site(name, (size,)), "quad") for size, name in enumerate("abc", 1))


def test_what_saves_most_for_its_loss_is_taken_first():
    model = Model({A: 3.0, B: 2.0, C: 1.0}, {A: 0.3, B: 0.05, C: 0.0})
    found = run(model, (A, B, C), 0.1)
    assert found.moves == (C, B)
    assert verdicts(found) == {A: OVER_BUDGET, B: TAKEN, C: TAKEN}
    assert (found.exact.total, found.tuned.total, found.loss.lost) == (10.0, 7.0, 0.05)


def test_a_loss_is_measured_again_beside_what_was_taken():
    model = Model({A: 3.0, B: 2.0}, {A: 0.0, B: 0.0}, together=0.5)
    found = run(model, (A, B), 0.1)
    assert found.moves == (A,)
    assert verdicts(found)[B] == OVER_BUDGET
    assert next(trial for trial in found.trials if trial.move == B).loss.lost == 0.5
    assert (A, B) in model.runs


def test_what_saves_nothing_is_not_run():
    model = Model({A: -1.0, B: 0.0}, {A: 0.0, B: 0.0})
    found = run(model, (A, B), 1.0)
    assert found.moves == ()
    assert set(verdicts(found).values()) == {SAVES_NOTHING}
    assert model.runs == [()]


def test_savings_that_do_not_add_up_are_noticed():
    class Shared(Model):
        def seconds(self, moves):
            return Seconds(10 - max((self.saved[move] for move in moves), default=0), 0.0, 0.0, 0.0, 0.0)

    found = run(Shared({A: 3.0, B: 2.0}, {A: 0.0, B: 0.0}), (A, B), 1.0)
    assert verdicts(found) == {A: TAKEN, B: SAVES_NOTHING}
    assert found.tuned.total == 7.0


def test_a_site_gets_one_approximation():
    other = Move(A.site, "relu")
    found = run(Model({A: 3.0, other: 2.0}, {A: 0.0, other: 0.0}), (A, other), 1.0)
    assert found.moves == (A,)
    assert verdicts(found)[other] == OTHER_TAKEN


def test_what_did_not_fit_gets_a_second_chance():
    model = Model({A: 3.0, B: 1.0}, {A: 0.12, B: 0.0}, together=-0.1)
    # A alone is over the budget, and ranks first; B makes up for it.
    found = run(model, (A, B), 0.05)
    assert found.moves == (B, A)
    assert (verdicts(found)[A], round(found.loss.lost, 6)) == (TAKEN, 0.02)


def test_what_saves_more_may_take_a_sites_place():
    better = Move(A.site, "cubic")
    model = Model({A: 1.0, B: 1.0, better: 3.0}, {A: 0.0, B: -0.05, better: 0.06})
    found = run(model, (A, B, better), 0.02)
    assert found.moves == (B, better)
    assert verdicts(found) == {A: OTHER_TAKEN, B: TAKEN, better: TAKEN}
    assert found.tuned.total == 6.0


def test_equal_sites_are_priced_once():
    moves = tuple(Move(site(name), "quad") for name in "abcd")
    model = Model(dict.fromkeys(moves, 1.0), dict.fromkeys(moves, 0.5))
    found = run(model, moves, 0.1)
    assert len(model.prices) == 2
    assert [trial.saved for trial in found.trials] == [1.0] * 4


def test_progress_ends_where_it_should():
    steps = []
    model = Model({A: 3.0, B: 2.0}, {A: 0.0, B: 0.0})
    Search(model, 1.0, 0.01, lambda *step: steps.append(step)).run((A, B))
    assert [done for _what, done, _total in steps] == list(range(len(steps)))
    assert all(done <= total for _what, done, total in steps)
    assert steps[-1][1] == steps[-1][2]


def test_what_breaks_the_budget_in_fixed_point_gives_way_to_the_next_best():
    model = Model({A: 3.0, B: 2.0, C: 1.0}, {A: 0.0, B: 0.0, C: 0.2}, rounding={A: 0.5, B: 0.04})
    found = run(model, (A, B, C), 0.05)
    assert found.moves == (B,)
    assert verdicts(found) == {A: OVER_SIMULATED, B: TAKEN, C: OVER_BUDGET}
    # The exact model and what fitted in float32, in the order of the ranking; A once more beside B.
    assert model.simulations == [(), (A,), (B,), (B, A)]
    assert (found.baseline.lost, found.simulated.lost, found.loss.lost) == (0.0, 0.04, 0.0)
    shown = {trial.move: None if trial.simulated is None else trial.simulated.lost for trial in found.trials}
    assert shown == {A: 0.54, B: 0.04, C: None}


def test_without_simulations_float32_decides():
    model = Model({A: 3.0}, {A: 0.0}, rounding={A: 0.5})
    found = run(model, (A,), 0.05, simulate=False)
    assert (found.moves, model.simulations, found.baseline, found.simulated) == ((A,), [], None, None)
