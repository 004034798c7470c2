"""Tuning a small BERT."""

from __future__ import annotations

import io

import pytest
import torch
from rich.console import Console

import mpccompile
from mpccompile.errors import InputError, OptionError
from mpccompile.options import Options
from mpccompile.tuning.search import OVER_BUDGET, SAVES_NOTHING, TAKEN
from tests.evaluation.cases import bert_data, mlp_data

GELUS = [f"bert.encoder.layer.{index}.intermediate.intermediate_act_fn" for index in (0, 1)]
SOFTMAXES = [f"bert.encoder.layer.{index}.attention.self" for index in (0, 1)]


@pytest.fixture(scope="module")
def tuned():
    model, data = bert_data(16)
    found = mpccompile.tune(model, data, budget=0.6, network="lan", candidates={"gelu": ["quad", "relu"]})
    return model, data, found


def test_every_approximation_of_every_site_is_tried(tuned):
    _model, _data, found = tuned
    trials = {(trial.move.site.module_path, trial.move.name): trial for trial in found.found.trials}
    assert set(trials) == {(path, name) for path in GELUS for name in ("quad", "relu")}
    # A comparison an element costs more than a series.
    assert all(trials[path, "relu"].verdict == SAVES_NOTHING for path in GELUS)
    # The passes leave one row of each text of the last layer.
    assert trials[GELUS[0], "quad"].saved > 2 * trials[GELUS[1], "quad"].saved > 0


def test_the_options_compile_to_what_was_promised(tuned):
    model, data, found = tuned
    assert found.options == {"gelu": dict.fromkeys(GELUS, "quad")}
    before, after = found.seconds
    assert after.total < before.total
    first = {name: value[:8] for name, value in data.items() if name != "labels"}
    private = mpccompile.compile(model, example_inputs=first, **found.options)
    result = mpccompile.evaluate(private, data, ways=("plaintext", "approximated", "simulated"))
    for name, loss in (("approximated", found.found.loss), ("simulated", found.loss)):
        assert result["plaintext"].accuracy.value - result[name].accuracy.value == pytest.approx(loss.lost)
        assert result[name].mean_error.value == pytest.approx(loss.error, rel=1e-3)
    # Fixed point adds something of its own, and the exact model has only that.
    assert 0 < found.found.baseline.error < 1e-2 < found.loss.error != found.found.loss.error
    assert {row.op for row in private.compile_for(first).statements} >= {"quadratic"}


def test_the_table_shows_the_trade_off(tuned):
    _model, _data, found = tuned
    buffer = io.StringIO()
    Console(file=buffer, width=200).print(found.table())
    text = buffer.getvalue()
    assert "lan: at most 60.0% of accuracy may be lost, 16 examples" in text
    assert text.index(TAKEN) < text.index(SAVES_NOTHING)
    assert "% less" in text
    assert "the exact model" in text
    rows = [line for line in text.splitlines() if "│" in line]
    # Taken rows were simulated, the others show nothing there.
    assert [line.split("│")[7].strip() != "" for line in rows] == [True, True, True, False, False]
    assert found.to_json()["options"] == found.options


def test_a_budget_of_nothing_keeps_the_answers_of_data_without_labels():
    model, data = bert_data(16)
    inputs = {name: value for name, value in data.items() if name != "labels"}
    found = mpccompile.tune(model, inputs, budget=0.0, candidates={"gelu": ["quad"]})
    assert OVER_BUDGET in {trial.verdict for trial in found.found.trials}
    assert found.loss.changed == found.loss.lost == 0.0


def test_a_model_without_sites_is_left_alone():
    model, data = mlp_data()
    found = mpccompile.tune(model, data, budget=0.5, network="wan")
    assert found.options == {}
    assert found.found.trials == ()


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"budget": 2}, OptionError, "budget=2 is no share"),
        ({"network": "moon"}, OptionError, "no network 'moon'"),
        ({"candidates": {"gelu": ["cubic"]}}, OptionError, "cubic is no approximation of gelu"),
        ({"candidates": {"tanh": ["quad"]}}, OptionError, "quad is no approximation of tanh"),
        ({"options": Options(gelu="quad")}, OptionError, "gelu is approximated already"),
        ({"options": Options(target="crypten")}, OptionError, "only target='mpccompile'"),
    ],
)
def test_what_means_nothing_is_refused(change, kind, said):
    model, data = mlp_data()
    with pytest.raises(kind, match=said):
        mpccompile.tune(model, data, **{"budget": 0.1, **change})


def test_labels_must_be_classes():
    model, data = mlp_data()
    with pytest.raises(InputError, match=r"labels hold 7, a class outside 0..2"):
        mpccompile.tune(model, {**data, "labels": torch.full((20,), 7)}, budget=0.1)


def test_an_id_outside_the_vocabulary_is_named_by_row():
    model, data = bert_data(16)
    for row in (13, 3):
        data["input_ids"][row, 2] = 99
        with pytest.raises(InputError, match=f"holds 99, an id outside 0..59 at row {row} of data"):
            mpccompile.tune(model, data, budget=0.1, candidates={"gelu": ["quad"]})
