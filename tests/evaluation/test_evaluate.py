from __future__ import annotations

import io

import pytest
import torch
from rich.console import Console

import mpccompile
from mpccompile.errors import InputError
from mpccompile.evaluation.table import table
from tests.evaluation.cases import bert_data, mlp_data


def rendered(evaluation):
    buffer = io.StringIO()
    Console(file=buffer, width=200).print(table(evaluation))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def compiled():
    model, data = mlp_data()
    with mpccompile.compile(model, example_inputs={"input": data["input"][:8]}) as private:
        yield private, data


def test_calls_are_as_large_as_the_first_example_not_as_the_rest_at_the_end():
    model, data = mlp_data()
    parts = [{"input": data["input"][start : start + 8]} for start in (0, 8, 16)]
    private = mpccompile.compile(model, example_inputs=[*parts[:2], {"input": parts[2]["input"][:1]}])
    assert mpccompile.evaluate(private, data, ways=("plaintext",)).batch_size == 8


def test_every_way_is_judged(compiled):
    private, data = compiled
    steps = []
    found = mpccompile.evaluate(private, data, progress=lambda *step: steps.append(step))
    assert [one.name for one in found.scores] == ["plaintext", "simulated", "private"]
    assert (found.examples, found.batch_size) == (20, 8)
    for one in found.scores:
        assert one.accuracy.value == 0.8
        assert one.unanswered == 0
        assert one.seconds > 0
    assert found["private"].agreement.value == 1.0
    assert 0 < found["private"].mean_error.value < found["private"].largest_error < 1e-3
    assert found.forecast.same == found.forecast.examples == 20
    assert 0 < found.forecast.largest_difference < 1e-3
    assert steps[0] == ("plaintext", 0, 9)
    assert steps[-1] == ("", 9, 9)
    text = rendered(found)
    assert "80.0% (58.4% to 91.9%)" in text
    assert "same class on 20 of 20" in text
    assert found.to_json()["scores"][2]["accuracy"]["value"] == 0.8
    with pytest.raises(KeyError, match="approximated did not run"):
        found["approximated"]


def test_a_refused_call_is_counted_and_named():
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Linear(8, 2)).eval()
    x = torch.randn(6, 4)
    data = {"input": x.clone(), "labels": model(x).argmax(-1)}
    data["input"][2:4] *= 7
    with mpccompile.compile(model, example_inputs={"input": x[:2]}) as private:
        found = mpccompile.evaluate(private, data)
    for name in ("simulated", "private"):
        assert found[name].unanswered == 2
        assert found[name].accuracy.value == found[name].agreement.value == pytest.approx(4 / 6)
        ((why, count),) = found[name].refusals.items()
        assert "gelu" in why
        assert count == 2
    assert found.forecast.examples == 4
    assert found["simulated"].refusals == found["private"].refusals
    assert "No answer (private), counted as wrong: a value left its range" in " ".join(rendered(found).split())


def test_an_input_beyond_its_limit_is_a_refusal(compiled):
    private, data = compiled
    far = {"input": data["input"].clone(), "labels": data["labels"]}
    far["input"][-1] = 1e4
    found = mpccompile.evaluate(private, far, ways=("plaintext", "simulated"))
    assert found["simulated"].unanswered == 4
    assert next(iter(found["simulated"].refusals)).startswith("input input is beyond")


def test_a_package_on_disk_needs_no_model(tmp_path):
    model, data = bert_data()
    first = {name: value[:4] for name, value in data.items() if name != "labels"}
    mpccompile.compile(model, example_inputs=first).save(tmp_path / "bert")
    alone = mpccompile.evaluate(tmp_path / "bert", data, ways=("plaintext", "simulated"))
    assert alone["plaintext"].accuracy.value == alone["simulated"].accuracy.value == 1.0
    assert 0 < alone["simulated"].largest_error < 1e-2
    beside = mpccompile.evaluate(tmp_path / "bert", data, model=model, limit=4, ways=("plaintext",))
    assert beside["plaintext"].accuracy.value == 1.0
    assert beside.forecast is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"input": torch.zeros(20, 9)}, "input input has shape"),
        ({"input": torch.zeros(20, 8, dtype=torch.long)}, "dtype"),
        ({"labels": torch.full((20,), 3)}, "labels hold 3, a class outside 0..2 at row 0 of data"),
        ({"other": torch.zeros(20, 8)}, "other"),
    ],
)
def test_data_that_does_not_fit_is_refused(compiled, change, said, tmp_path):
    private, data = compiled
    private.save(tmp_path / "package")
    with pytest.raises(InputError, match=said):
        mpccompile.evaluate(tmp_path / "package", {**data, **change}, ways=("simulated",))


def test_unknown_ways_are_refused(compiled):
    private, data = compiled
    with pytest.raises(InputError, match="encrypted is no way to run"):
        mpccompile.evaluate(private, data, ways=("encrypted",))


def test_stock_crypten_has_no_simulation():
    model, data = mlp_data()
    private = mpccompile.compile(model, example_inputs={"input": data["input"][:8]}, target="crypten")
    with pytest.raises(InputError, match="simulated is no way to run a package for target='crypten'"):
        mpccompile.evaluate(private, data, ways=("simulated",))


def test_approximations_are_a_way_of_their_own():
    model, data = bert_data()
    first = {name: value[:4] for name, value in data.items() if name != "labels"}
    with mpccompile.compile(model, example_inputs=first, gelu="quad", softmax="2quad") as private:
        found = mpccompile.evaluate(private, data)
    assert [one.name for one in found.scores] == ["plaintext", "approximated", "simulated", "private"]
    assert found["approximated"].largest_error > 0.01
    assert found["approximated"].approximated_agreement is None
    for name in ("simulated", "private"):
        assert found[name].approximated_agreement.value == 1.0
        assert found[name].approximated_error < 1e-2 < found[name].largest_error


def test_approximated_packages_have_plaintext_only_with_their_model(tmp_path):
    model, data = bert_data()
    first = {name: value[:4] for name, value in data.items() if name != "labels"}
    mpccompile.compile(model, example_inputs=first, gelu="quad").save(tmp_path / "bert")
    alone = mpccompile.evaluate(tmp_path / "bert", data, ways=("plaintext", "approximated", "simulated"))
    assert [one.name for one in alone.scores] == ["approximated", "simulated"]
    assert alone["simulated"].agreement is None
    assert alone["simulated"].approximated_agreement.value == 1.0


def test_an_id_outside_the_vocabulary_is_named_by_row(tmp_path):
    model, data = bert_data()
    first = {name: value[:4] for name, value in data.items() if name != "labels"}
    private = mpccompile.compile(model, example_inputs=first)
    private.save(tmp_path / "bert")
    data["input_ids"][6, 2] = 60
    for target in (private, tmp_path / "bert"):
        with pytest.raises(InputError, match=r"input input_ids holds 60, an id outside 0..59 at row 6 of data"):
            mpccompile.evaluate(target, data, ways=("plaintext", "simulated"))
    data["input_ids"][1, 2] = -7
    with pytest.raises(InputError, match=r"holds -7, an id outside 0..59 at row 1 of data"):
        mpccompile.evaluate(mpccompile.compile(model), data, ways=("plaintext", "simulated"))


def test_a_model_that_is_not_the_packages_is_told(compiled, tmp_path):
    private, data = compiled
    private.save(tmp_path / "package")
    other = torch.nn.Linear(9, 3)
    with pytest.raises(InputError, match=r"Linear fails on the data with RuntimeError: .* that it was compiled of"):
        mpccompile.evaluate(tmp_path / "package", data, model=other, ways=("plaintext", "simulated"))
