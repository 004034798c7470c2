"""``mpccompile show``: the page, text and JSON, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mpccompile import cli, compiler
from mpccompile.ir import ops
from mpccompile.ir.edit import edited
from mpccompile.options import Options
from tests import models

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    model, inputs = models.mlp()
    return compiler.build(model, inputs, tmp_path_factory.mktemp("show") / "mlp", options=Options())


@pytest.fixture
def call(monkeypatch, capfd):
    """Run the command in this process and return its exit code, output and error output."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["mpccompile", "show", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capfd.readouterr()
        return ended.value.code or 0, said.out, said.err

    return run


def test_the_page_goes_to_the_file_named(call, package, tmp_path):
    path = tmp_path / "page.html"
    assert call(package.folder, "-o", path) == (0, f"{path}\n", "")
    first = path.read_bytes()
    assert call(package.folder, "-o", path)[0] == 0
    assert path.read_bytes() == first
    assert b"<!doctype html>" in first


def test_the_page_goes_into_the_folder_and_leaves_the_package_whole(call, package):
    code, said, _ = call(package.folder)
    assert (code, said) == (0, f"{package.folder / 'show.html'}\n")
    assert call(package.folder, "--json")[0] == 0


def test_open_starts_a_browser_on_the_file(call, package, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("typer.launch", lambda url: opened.append(url) or 0)
    assert call(package.folder, "-o", tmp_path / "a b.html", "--open")[0] == 0
    assert opened == [(tmp_path / "a b.html").resolve().as_uri()]


def test_without_a_browser_it_says_so(call, package, tmp_path, monkeypatch):
    monkeypatch.setattr("typer.launch", lambda _url: 1)
    code, _, said = call(package.folder, "-o", tmp_path / "page.html", "--open")
    assert (code, said) == (0, "no browser could be started: open the file yourself\n")


def test_json_is_what_the_page_shows(call, package):
    code, said, _ = call(package.folder, "--json")
    shown = json.loads(said)
    assert code == 0
    assert len(shown["statements"]) == len(package.statements)
    assert shown["graph"] is not None


def test_a_stage_is_printed_as_text(call, package):
    code, captured, _ = call(package.folder, "--stage", "captured")
    assert code == 0
    assert captured.startswith("%input_1: f32[2, 8] secret = input input\n")
    code, optimised, _ = call(package.folder, "--stage", "optimised")
    assert code == 0
    assert call(package.folder, "--stage", "schedule_rounds")[1] == optimised


def test_a_stage_is_printed_as_json(call, package):
    code, said, _ = call(package.folder, "--stage", "optimised", "--json")
    values = json.loads(said)["values"]
    assert code == 0
    assert [row["text"] for row in values] == call(package.folder, "--stage", "optimised")[1].splitlines()
    told = json.loads(call(package.folder, "--stage", "optimised", "--diff", "--json")[1])
    before = call(package.folder, "--stage", "captured")[1].splitlines()
    assert (told["before"], told["after"]) == ("captured", "optimised")
    assert len(before) + len(told["added"]) - len(told["removed"]) == len(values)


def test_a_diff_adds_what_is_new_and_takes_what_is_gone(call, package):
    before = call(package.folder, "--stage", "captured")[1].splitlines()
    after = call(package.folder, "--stage", "optimised")[1].splitlines()
    code, said, _ = call(package.folder, "--stage", "optimised", "--diff")
    lines = said.splitlines()
    assert code == 0
    assert lines[:2] == (["--- captured", "+++ optimised"] if before != after else [])
    assert {line[1:] for line in lines[2:] if line[0] == "+"} >= set(after) - set(before)
    assert {line[1:] for line in lines[2:] if line[0] == "-"} >= set(before) - set(after)
    assert call(package.folder, "--stage", "captured", "--diff") == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["nowhere"], 1, "this is not a compiled package"),
        (["{package}", "--stage", "nonsense"], 2, "there is no stage 'nonsense'"),
        (["{package}", "--diff"], 2, "it needs --stage"),
        (["{package}", "-o", "{tmp}/none/page.html"], 2, "there is no such folder"),
        (["{package}", "-o", "{tmp}"], 2, "this is a folder"),
        (["{package}", "--profile", "{tmp}/none.json"], 1, "there is no such file"),
        (["{package}", "--profile", "{package}/model.py"], 1, "this is no JSON file"),
        (["{package}", "--profile", "{package}/plan.json"], 1, "this is no profile"),
    ],
)
def test_a_mistake_is_told_in_a_line(call, package, tmp_path, arguments, code, told):
    texts = [text.format(package=package.folder, tmp=tmp_path) for text in arguments]
    ended, _, said = call(*texts)
    assert ended == code
    assert told in said
    assert "Traceback" not in said


def test_edited_graphs_are_refused(call, package):
    path = package.folder / "graphs.json"
    whole = path.read_bytes()
    try:
        path.write_bytes(whole.replace(b"secret", b"public"))
        code, _, said = call(package.folder, "--json")
        assert code == 1
        assert "graphs.json is not the file that was compiled" in said
        path.unlink()
        code, said, _ = call(package.folder, "--json")
        assert code == 0
        assert json.loads(said)["graph"] is None
        assert "there is no graphs.json" in call(package.folder, "--stage", "captured")[2]
    finally:
        path.write_bytes(whole)


def sample():
    """A factory for --debug."""
    return models.mlp()


def lose_a_bias(program):
    """A pass for --debug."""
    edit = edited(program)
    node = next(node for node in edit.nodes if node.target is ops.linear)
    edit.change(node, bias=None)
    return edit.done()


HERE = "tests.commands.test_pictures"


def test_debug_names_the_pass_and_the_operation(call, tmp_path):
    code, said, wrong = call(f"{HERE}:sample", "--debug", "--pass", f"{HERE}:lose_a_bias")
    assert (code, wrong) == (1, "")
    assert "\n  lose_a_bias                BROKEN\n" in said
    assert "\n  first wrong  %linear_2 = linear at 0: is off by " in said
    assert call(f"{HERE}:sample", "--debug", "--pass", f"{HERE}:lose_a_bias")[1] == said


def test_debug_ends_well_where_nothing_is_broken(call):
    code, said, _ = call(f"{HERE}:sample", "--debug")
    assert code == 0
    assert "on purpose" not in said
    assert said.endswith("No pass breaks the model.\n")


def test_debug_prints_json_and_marks_the_place_on_the_page(call, tmp_path):
    page = tmp_path / "page.html"
    arguments = [f"{HERE}:sample", "--debug", "--pass", f"{HERE}:lose_a_bias", "--json", "-o", page]
    code, said, wrong = call(*arguments)
    assert (code, wrong) == (1, "")
    (broken,) = json.loads(said)["broken"]
    assert (broken["stage"], broken["node"]) == ("lose_a_bias", "linear_2")
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), flags=re.DOTALL)
    assert json.loads(text)["broken"] == [broken]


def lose_all_numbers(program):
    """A pass for --debug whose graph has no ranges, so that it cannot be drawn."""
    edit = edited(program)
    node = next(node for node in edit.nodes if node.target is ops.linear)
    weight = node.args[1]
    edit.change(node, weight=edit.weight(weight, node, edit.data(weight) * float("nan")))
    return edit.done()


def test_debug_tells_what_it_found_where_that_cannot_be_drawn(call, tmp_path):
    arguments = [f"{HERE}:sample", "--debug", "--pass", f"{HERE}:lose_all_numbers", "-o", tmp_path / "page.html"]
    code, said, wrong = call(*arguments)
    assert code == 1
    assert "lose_all_numbers           BROKEN" in said
    assert "what the pass left cannot be drawn" in wrong
    assert "written" not in said


def test_debug_opens_its_page(call, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("typer.launch", lambda url: opened.append(url) or 0)
    assert call(f"{HERE}:sample", "--debug", "-o", tmp_path / "page.html", "--open")[0] == 0
    assert opened == [(tmp_path / "page.html").as_uri()]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["{package}", "--debug"], 2, "is a package, which no pass has broken"),
        (["nowhere", "--debug"], 2, "'nowhere' names no factory"),
        ([f"{HERE}:none", "--debug"], 2, "has no none"),
        ([f"{HERE}:sample", "--debug", "--pass", "lose_a_bias"], 2, "'lose_a_bias' names no pass"),
        ([f"{HERE}:sample", "--debug", "--pass", f"{HERE}:HERE"], 2, "is no function"),
        ([f"{HERE}:sample", "--debug", "--input-shape", "x=1"], 2, "it is for ONNX files"),
        (["none.onnx", "--debug"], 1, "there is no such file"),
        (["{package}", "--pass", f"{HERE}:lose_a_bias"], 2, "it is for --debug"),
        ([f"{HERE}:sample", "--debug", "--stage", "captured"], 2, "--debug has no use for it"),
        ([f"{HERE}:sample", "--debug", "--open"], 2, "with --debug it needs --output"),
        (["{package}", "--stage", "captured", "--open"], 2, "no page is written with --stage or --json"),
        (["{package}", "--json", "-o", "page.html"], 2, "no page is written with --stage or --json"),
        (["{package}", "--stage", "captured", "--profile", "x"], 2, "a stage has no measured seconds"),
    ],
)
def test_a_wrong_question_is_told_in_a_line(call, package, arguments, code, told):
    ended, _, said = call(*[text.format(package=package.folder) for text in arguments])
    assert ended == code
    assert told in " ".join(said.split())
    assert "Traceback" not in said


def test_two_compilations_print_the_same_diff(tmp_path):
    script = (
        "import sys; from pathlib import Path; from mpccompile import compiler, cli; from mpccompile.options import"
        " Options; from tests import models\n"
        "model, inputs = models.gpt2()\n"
        "compiler.build(model, inputs, Path(sys.argv[1]), options=Options())\n"
        "sys.argv = ['mpccompile', 'show', sys.argv[1], '--stage', 'optimised', '--diff']\n"
        "cli.main()\n"
    )

    def run(seed):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", script, str(tmp_path / seed)]
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = run("1")
    assert first.startswith(b"--- captured\n+++ optimised\n")
    assert run("2") == first
