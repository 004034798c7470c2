import io
import json
from dataclasses import replace

import pytest
from rich.console import Console
from transformers import BertConfig
from typer.testing import CliRunner

import mpccompile
from mpccompile.bench import bars, bert_base, race
from mpccompile.bench.bert_base import Setting
from mpccompile.bench.command import app
from mpccompile.errors import OptionError
from mpccompile.report.compare import Cost
from mpccompile.report.profile import Profile, Row

TINY = BertConfig(vocab_size=30, hidden_size=8, num_attention_heads=2, intermediate_size=16, max_position_embeddings=10)


@pytest.fixture(scope="module")
def measured():
    buffer = io.StringIO()
    console = Console(file=buffer, width=140)
    setting = Setting(2, 1, 4, 1, trained=False, truncations=1)
    result = bert_base.run(setting, console, config=TINY)
    return result, buffer.getvalue()


def test_every_way_is_measured_and_stock_crypten_is_scaled(measured):
    result, _ = measured
    exact = result.exact
    assert exact.stock_as_run.rounds < exact.stock.rounds < 2 * exact.stock_as_run.rounds
    assert exact.stock_as_run.bytes_sent < exact.stock.bytes_sent < 2 * exact.stock_as_run.bytes_sent
    assert exact.ours.max_error < 1e-2
    assert exact.stock_as_run.max_error < 0.05
    assert exact.plain.max_error == 0
    assert min(exact.peak_bytes) > 1e7


def test_result_is_json(measured):
    result, _ = measured
    values = json.loads(json.dumps(result.to_json()))
    assert values["machine"]["torch"]
    assert values["passed"] is result.passed
    assert [bar["bar"] for bar in values["bars"]] == [20, 12, 8, 15, 5, 0.01, 4 << 30, None, 10, 0]


def test_output_says_how_stock_crypten_ran(measured):
    _, text = measured
    assert "1 of 2 layers" in " ".join(text.split())
    assert "rank 0 makes the triples" in " ".join(text.split())
    assert "pass" in text


def test_scaling_multiplies_what_the_layers_take_and_nothing_else():
    rows = (
        Row("embedding", "bert.embeddings", 1, (100, 90), 2, 1.0, 0.5),
        Row("linear", "bert.encoder.layer.0.output", 1, (300, 200), 6, 3.0, 1.5),
        Row("output", "", 1, (0, 0), 1, 0.0),
    )
    profile = Profile(rows, 4.0, 2.0, (400, 400), 0, 9, None)
    scaled = race.scaled(Cost("stock", 8.0, 4.0, 400, 0, 9), profile, 12)
    # The median run took twice as long as the one that says where its time went.
    assert (scaled.online_seconds, scaled.offline_seconds) == pytest.approx((2 + 6 * 12, 1 + 3 * 12))
    assert (scaled.bytes_sent, scaled.rounds) == pytest.approx((100 + 300 * 12, 3 + 6 * 12))


def test_what_is_not_timed_by_statement_is_scaled_as_told_and_a_layer_may_count_once():
    rows = (
        Row("linear", "bert.encoder.layer.0.output", 1, (300, 200), 6, 3.0),
        Row("linear", "bert.encoder.layer.1.output", 1, (100, 90), 6, 1.0),
    )
    profile = Profile(rows, 4.0, 2.0, (400, 290), 50, 12, None)
    scaled = race.scaled(Cost("ours", 4.0, 2.0, 400, 50, 12), profile, 11, apart=1, offline_factor=8)
    assert (scaled.online_seconds, scaled.offline_seconds) == pytest.approx((3 * 11 + 1, 16))
    assert (scaled.bytes_sent, scaled.offline_bytes, scaled.rounds) == pytest.approx((3400, 400, 72))


def test_layers_that_did_not_run_cost_what_they_would_have():
    config = BertConfig(**{**TINY.to_dict(), "num_hidden_layers": 5})
    found = {}
    for layers in (3, 5):
        course = race.Course(config, 4, our_layers=layers)
        inputs = race._inputs(config, 4)
        ours = mpccompile.compile(race._model(config, layers), example_inputs=inputs)
        (package,) = ours.packages
        lines = {row.line: row for row in package.traffic}
        rows = tuple(
            Row(each.op, each.module_path, 1, lines[each.line].bytes_sent, lines[each.line].rounds, 0.0)
            for each in package.statements
            if each.line in lines
        )
        sent = sum(max(row.bytes_sent) for row in rows)
        rounds = sum(row.rounds for row in rows)
        profile = Profile(rows, 0.0, 0.0, (sent, sent), package.offline_bytes, rounds, None)
        cost = Cost("ours", 0.0, 0.0, sent, package.offline_bytes, rounds)
        found[layers] = race._all_layers(cost, profile, course)
    assert found[3].bytes_sent == pytest.approx(found[5].bytes_sent, rel=0.03)
    assert found[3].offline_bytes == pytest.approx(found[5].offline_bytes, rel=0.03)
    # The head opens more or less, with what it sees.
    assert found[3].rounds == pytest.approx(found[5].rounds, rel=0.06)


def test_queries_alone_are_scaled():
    one, two = (race._model(TINY, 1, scale).state_dict() for scale in (1.0, 2.0))
    assert {name for name in one if not one[name].equal(two[name])} == {
        "bert.encoder.layer.0.attention.self.query.weight"
    }


def test_one_layer_of_several_is_refused():
    with pytest.raises(OptionError, match="too few"):
        race.Course(BertConfig(), our_layers=1)


def test_bars_are_held_to_their_figures():
    ours, plain = Cost("ours", 1.0, 1.0, 10, 0, 10, 0.02), Cost("plaintext", 0.5)
    found = bars.against_stock(ours, Cost("stock", 13.0, 8.0, 100, 0, 60), plain, 5 << 30)
    assert [bar.value for bar in found] == [21, 13, 10.5, 10, 6, 0.02, 5 << 30, 2]
    assert [bar.passed for bar in found] == [True, True, True, False, True, False, False, None]


def test_both_run_on_mpcformers_graph(measured):
    result, _ = measured
    assert result.quadratic.ours.offline_bytes < result.exact.ours.offline_bytes
    assert result.quadratic.stock.bytes_sent < result.exact.stock.bytes_sent
    bar = bars.on_mpcformer(Cost("ours", 1.0, 1.0, 10, 0, 10), Cost("stock", 9.0, 6.0, 100, 0, 60))
    assert (bar.value, bar.passed) == (15, True)


def test_command_passes_on_what_is_asked_and_writes_json(monkeypatch, tmp_path):
    asked = []

    class Result:
        passed = True

        def to_json(self):
            return {"passed": True}

    monkeypatch.setattr(bert_base, "run", lambda setting, _console: asked.append(setting) or Result())
    command = ["bert-base", "--layers", "2", "--repeat", "1", "--tokens", "16", "--json", str(tmp_path / "result.json")]
    answer = CliRunner().invoke(app, command)
    assert answer.exit_code == 0, answer.output
    assert CliRunner().invoke(app, [*command, "--quick"]).exit_code == 0
    whole = Setting(2, 1, 16, 1, "cpu", mpcformer=True, trained=True, truncations=10**9)
    assert asked == [whole, replace(whole, mpcformer=False, trained=False, truncations=0)]
    assert json.loads((tmp_path / "result.json").read_text()) == {"passed": True}
