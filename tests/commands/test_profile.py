"""``mpccompile profile``: what it writes beside its table, and what it refuses before anything runs."""

from __future__ import annotations

import json
import sys

import pytest

from mpccompile import cli, compiler
from mpccompile.options import Options
from tests import models


def model():
    """A factory for --model."""
    return models.mlp()[0]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    network, inputs = models.mlp()
    return compiler.build(network, inputs, tmp_path_factory.mktemp("profile") / "mlp", options=Options())


@pytest.fixture
def call(monkeypatch, capfd):
    """Run the command in this process and return its exit code, output and error output."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["mpccompile", "profile", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capfd.readouterr()
        return ended.value.code or 0, said.out, said.err

    return run


def test_everything_is_written_in_one_run(call, package, tmp_path):
    names = {"--html": "r.html", "--trace": "t.json", "--charts": "charts", "--csv": "c.csv"}
    where = [text for flag, name in names.items() for text in (flag, tmp_path / name)]
    ways = ["--against", "plaintext", "--against", "crypten", "--model", "tests.commands.test_profile:model"]
    code, said, wrong = call(package.folder, *where, *ways)
    assert (code, wrong) == (0, "")
    assert [line for line in said.splitlines() if line.startswith("written to")] == [
        f"written to {tmp_path / name}" for name in names.values()
    ]
    assert "stock CrypTen" in (tmp_path / "r.html").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))["traceEvents"]
    assert (tmp_path / "charts" / "against.svg").exists()
    assert "crypten" in said


def test_json_has_the_breakdown_and_no_timeline_unless_a_file_needs_one(call, package):
    code, said, _ = call(package.folder, "--json", "--against", "plaintext")
    found = json.loads(said)
    assert code == 0
    assert found["spans"] == []
    assert found["breakdown"]["total"]["rounds"] == found["rounds"]
    assert found["breakdown"]["total"]["seconds"]["wan"] > found["online_seconds"]
    assert [cost["name"] for cost in found["costs"]] == ["this program", "plaintext"]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--trace", "{tmp}/none/trace.json"], 2, "there is no such folder"),
        (["--html", "{tmp}"], 2, "this is a folder"),
        (["--charts", "{package}/model.py"], 2, "is a file"),
        (["--against", "crypten"], 2, "stock CrypTen runs the model itself"),
        (["--model", "tests.commands.test_profile:model"], 2, "it is for --against"),
        (["--against", "plaintext", "--model", "tests.commands.test_profile:none"], 2, "has no none"),
        (["--against", "spdz"], 2, "'spdz' is not one of"),
    ],
)
def test_a_mistake_is_told_before_anything_runs(call, package, tmp_path, monkeypatch, arguments, code, told):
    monkeypatch.setattr("mpccompile.runtime.session.Session._start", lambda *_: pytest.fail("something was started"))
    texts = [text.format(package=package.folder, tmp=tmp_path) for text in arguments]
    ended, _, said = call(package.folder, *texts)
    assert ended == code
    assert told in " ".join(said.split())
    assert "Traceback" not in said


def test_stock_crypten_has_no_timeline(call, tmp_path):
    network, inputs = models.mlp()
    stock = compiler.build(network, inputs, tmp_path / "stock", options=Options(target="crypten"), passes=())
    code, _, said = call(stock.folder, "--trace", tmp_path / "trace.json")
    assert (code, "tells no timeline" in said) == (2, True)
