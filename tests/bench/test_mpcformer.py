import io
import json

import pytest
from rich.console import Console
from transformers import BertConfig
from typer.testing import CliRunner

from mpccompile.bench import mpcformer, race
from mpccompile.bench.command import app
from mpccompile.bench.mpcformer import PLACES, QUICK, Place, Setting, parts_of
from mpccompile.bench.parts import Pair, Part, chosen
from mpccompile.errors import OptionError
from mpccompile.report.compare import Cost

TINY = Place(
    "tiny",
    "Tiny, 4 tokens",
    BertConfig(
        vocab_size=30,
        hidden_size=8,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=10,
    ),
    4,
    our_layers=2,
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    path, buffer = tmp_path_factory.mktemp("result") / "result.json", io.StringIO()
    parts = mpcformer.run(Setting((TINY,), repeat=1, most_elements=16), Console(file=buffer, width=200), path)
    return parts, " ".join(buffer.getvalue().split()), json.loads(path.read_text())["parts"]


def test_both_tables_are_measured_on_both_engines(measured):
    parts, _, written = measured
    assert [list(part.pairs) for part in parts] == [
        ["GELU", "Quad", "softmax", "2ReLU", "2Quad"],
        ["exact", "Quad + 2ReLU", "Quad + 2Quad"],
    ]
    for part in parts:
        assert not part.failed
        for name, pair in part.pairs.items():
            assert 0 < pair.ours.rounds < pair.stock.rounds or name == "Quad"
            assert min(pair.ours.seconds, pair.stock.seconds, *pair.peak_bytes) > 0
            assert written[part.key]["pairs"][name]["ours"]["bytes_sent"] == pair.ours.bytes_sent
    assert max(pair.ours.max_error for pair in parts[0].pairs.values()) < 5e-3


def test_a_function_is_scaled_to_its_whole_argument_and_all_layers(measured):
    (functions, _), text, _ = measured
    # 64 elements a layer, of which 16 are run; Quad opens each once in 6 bytes, and once more to truncate.
    assert functions.pairs["Quad"].ours.bytes_sent == pytest.approx(3 * 64 * 12, rel=0.4)
    assert functions.pairs["Quad"].ours.rounds == 3 * 2
    assert "GELU: 1/4 of its argument" in text
    assert "softmax: 1/2 of its argument" in text


def test_output_says_how_it_was_run_and_what_follows(measured):
    _, text, _ = measured
    assert "of 3 layers we ran 2 and stock CrypTen 1" in text
    assert "rank 0 makes the triples" in text
    assert "LAN: 1 Gbit/s, 0.5 ms there and back" in text
    assert "Quad + 2Quad makes this engine so many times as fast" in text


def test_a_part_that_fails_leaves_the_others(monkeypatch, tmp_path):
    def fail(course, _say):
        if course.options:
            raise RuntimeError("no room")
        return race.Finish(*[Cost("", 1.0, 1.0, 8, 0, 1)] * 5, (1, 1), 1.0)

    path = tmp_path / "result.json"
    path.write_text('{"parts": {"models/other": {}}}')
    monkeypatch.setattr(mpcformer, "race", fail)
    (part,) = mpcformer.run(Setting((TINY,), ("models",)), path=path)
    assert list(part.pairs) == ["exact"]
    assert part.failed == dict.fromkeys(("Quad + 2ReLU", "Quad + 2Quad"), "RuntimeError: no room")
    written = json.loads(path.read_text())["parts"]
    assert written.keys() == {"models/other", "models/tiny"}
    assert written["models/tiny"]["failed"] == part.failed
    assert written["models/tiny"]["machine"]["torch"]


def test_a_file_of_something_else_is_left_alone(tmp_path):
    path = tmp_path / "other.json"
    path.write_text("[1]")
    with pytest.raises(OptionError, match="holds no parts"):
        mpcformer.run(Setting((TINY,)), path=path)
    assert path.read_text() == "[1]"


@pytest.mark.parametrize(
    ("only", "count"), [((), 5), (("functions",), 2), (("models/*base*",), 2), (("models/bert-large-128",), 1)]
)
def test_parts_are_chosen_by_table_and_setting(only, count):
    assert len(chosen(parts_of(PLACES), only)) == count


def test_a_pattern_that_names_nothing_is_refused():
    with pytest.raises(OptionError, match="functions/bert-large-128"):
        chosen(parts_of(PLACES), ("functions/bert-large-128",))


def test_command_passes_on_what_is_asked(monkeypatch, tmp_path):
    asked = []

    def run(setting, _console, path):
        asked.append((setting, path))
        failed = {"exact": "no room"} if setting.only else {}
        return (Part("models", "tiny", "", {"exact": Pair("exact", Cost("", 1), Cost("", 1), (0, 0))}, failed),)

    monkeypatch.setattr(mpcformer, "run", run)
    path = tmp_path / "result.json"
    assert CliRunner().invoke(app, ["mpcformer", "--quick", "--json", str(path)]).exit_code == 0
    assert CliRunner().invoke(app, ["mpcformer", "--only", "models", "--only", "functions"]).exit_code == 1
    assert asked == [(Setting(QUICK, repeat=1), path), (Setting(PLACES, ("models", "functions")), None)]
