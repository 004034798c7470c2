"""A user's mistake is told in a line and by the exit code, with no trace and no apology; nothing is started for it."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from mpccompile import cli, compiler
from mpccompile.options import Options
from tests import models

HERE = "tests.commands.test_mistakes"
ROOT = Path(__file__).resolve().parents[2]
# What says yes or no, or has no table: everything else prints JSON.
WITHOUT_JSON = {"key", "dealer", "bench"}


def sample():
    return models.mlp()


def other():
    return models.bert()[0]


def leaves():
    sys.exit(3)


def wrong_shape():
    return models.mlp()[0], {"input": torch.zeros(2, 7)}


def wrong_name():
    return models.mlp()[0], {"x": torch.zeros(2, 8)}


def no_tensor():
    return models.mlp()[0], {"input": "text"}


class Strange(torch.nn.Module):
    def forward(self, x):
        return torch.erfinv(x)


def unknown_op():
    return Strange(), {"x": torch.zeros(2, 8)}


def onnx_model(op, shape=(2, 8)):
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y"))
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"])], "graph", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a package, damaged ones, and files of every wrong kind."""
    folder = tmp_path_factory.mktemp("mistakes")
    model, inputs = models.mlp()
    for name in ("package", "edited", "listed", "binary"):
        compiler.build(model, inputs, folder / name, options=Options())
    (folder / "edited" / "model.py").write_text("pass", encoding="utf-8")
    (folder / "listed" / "manifest.json").write_text("[]", encoding="utf-8")
    (folder / "binary" / "manifest.json").write_bytes(b"\xff\xfe")
    (folder / "folder").mkdir()
    (folder / "folder" / "file").touch()
    (folder / "text").write_text("text", encoding="utf-8")
    onnx.save(onnx_model("Relu"), folder / "whole.onnx")
    onnx.save(onnx_model("Relu", ("n", 8)), folder / "open.onnx")
    onnx.save(onnx_model("Det"), folder / "unknown.onnx")
    whole = (folder / "whole.onnx").read_bytes()
    (folder / "half.onnx").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.onnx").touch()
    (folder / "text.onnx").write_text("text", encoding="utf-8")
    np.savez(folder / "inputs.npz", input=np.zeros((2, 8), np.float32))
    np.savez(folder / "complex.npz", input=np.zeros((2, 8), complex))
    np.savez_compressed(folder / "packed.npz", input=np.random.default_rng(0).normal(size=(200, 8)))
    packed = bytearray((folder / "packed.npz").read_bytes())
    packed[200:260] = bytes(60)
    (folder / "packed.npz").write_bytes(packed)
    (folder / "half.npz").write_bytes((folder / "inputs.npz").read_bytes()[:100])
    return folder


@pytest.fixture
def call(monkeypatch, capfd, place):
    """Run the command in that folder and return its exit code, output and error output."""
    monkeypatch.setattr("mpccompile.runtime.session.Session._start", lambda *_: pytest.fail("something was started"))
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def run(line):
        monkeypatch.setattr(sys, "argv", ["mpccompile", *line.split()])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capfd.readouterr()
        return ended.value.code or 0, said.out, said.err

    return run


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        ("run text --input inputs.npz", 1, "this is a file, and not the folder of a package at text"),
        ("run nowhere --input inputs.npz", 1, "this is not a compiled package: there is no such folder"),
        ("run folder --input inputs.npz", 1, "this is not a compiled package"),
        ("run edited --input inputs.npz", 1, "model.py is not the file that was compiled"),
        ("run listed --input inputs.npz", 1, "manifest.json is damaged"),
        ("run binary --input inputs.npz", 1, "manifest.json cannot be read"),
        ("run package --input complex.npz", 1, "input input has dtype torch.complex128"),
        ("run package --input half.npz", 1, "this is not an .npz file of numbers"),
        ("run package --input packed.npz", 1, "this is not an .npz file of numbers"),
        ("run package --input folder", 1, "this is not an .npz file of numbers"),
        ("run package --input inputs.npz --output /proc/y.npz", 2, "nothing can be written there"),
        ("run package --input inputs.npz --device tpu", 2, "'tpu' is not a device"),
        ("profile text", 1, "this is a file, and not the folder of a package"),
        ("profile package --html /proc/x.html", 2, "nothing can be written there"),
        ("profile package --charts /proc/charts", 2, "nothing can be written to /proc"),
        ("show whole.onnx", 1, "whole.onnx is a model, and not the folder of a package"),
        (f"show {HERE}:sample", 1, "Make a package with mpccompile export or compile, or add --debug"),
        ("show text", 1, "this is a file, and not the folder of a package"),
        ("show package --profile half.npz", 1, "this is no JSON file"),
        ("show whole.onnx --debug --input inputs.npz", 2, "input x is missing at --input"),
        (f"show {HERE}:leaves --debug", 1, "failed with SystemExit: 3"),
        (f"compile {HERE}:sample -o /proc/package", 2, "nothing can be written to /proc"),
        (f"compile {HERE}:sample -o text/package", 2, "text is a file"),
        (f"compile {HERE}:leaves -o package2", 1, "failed with SystemExit: 3"),
        (f"compile {HERE}:wrong_shape -o package2", 1, "The model fails on these inputs"),
        (f"compile {HERE}:wrong_name -o package2", 1, "unexpected keyword argument 'x'"),
        (f"compile {HERE}:no_tensor -o package2", 1, "No input is a tensor"),
        (f"compile {HERE}:sample -o package2 --option secret=none", 2, "There is no input named none"),
        ("export nowhere.onnx -o package2", 1, "there is no such file"),
        ("export half.onnx -o package2", 1, "this is not an ONNX file, or not all of it"),
        ("export empty.onnx -o package2", 1, "this is not an ONNX file, or not all of it"),
        ("export text.onnx -o package2", 1, "this is not an ONNX file, or not all of it"),
        ("export folder -o package2", 1, "the file cannot be read (Is a directory)"),
        ("export open.onnx -o package2", 2, "dim 0 (n) of input x is open"),
        ("export open.onnx -o package2 --input-shape x=0,8", 2, "'x=0,8' is no shape"),
        ("export open.onnx -o package2 --input-shape n=1 --input-shape n=2", 2, "n has two shapes"),
        ("export whole.onnx -o package2 --input-shape x=3,8", 2, "dim 0 of input x is 2, the shape given says 3"),
        ("export whole.onnx -o package2 --secret x --public x", 2, "x cannot be both secret and public"),
        ("export whole.onnx -o /proc/package", 2, "nothing can be written to /proc"),
        ("evaluate package --data inputs.npz", 1, "there are no labels"),
        ("generate package --ids 1,2", 1, "the package answers inputs and writes no text"),
        ("key text/key", 1, "the key file cannot be made (Not a directory)"),
        ("dealer package --listen 127.0.0.1:1 --key-file folder", 1, "the key file cannot be read (Is a directory)"),
        ("bench gpt2 --json folder", 2, "this is a folder"),
    ],
)
def test_it_is_told_in_one_line(call, line, code, told):
    ended, out, said = call(line)
    assert (ended, out) == (code, "")
    assert told in said
    assert len(said.splitlines()) == 1
    assert said.startswith("error: ")


@pytest.mark.parametrize(
    ("line", "operator"),
    [(f"compile {HERE}:unknown_op -o package2", "aten.erfinv"), ("export unknown.onnx -o package2", "Det")],
)
def test_every_unknown_operator_is_listed(call, line, operator):
    code, _, said = call(line)
    assert code == 1
    assert re.search(rf"^  {operator}\S* at ", said, flags=re.MULTILINE)
    assert "Traceback" not in said


def test_another_model_is_told(place, monkeypatch, capfd):
    arguments = ["profile", str(place / "package"), "--against", "plaintext", "--model", f"{HERE}:other"]
    monkeypatch.setattr(sys, "argv", ["mpccompile", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capfd.readouterr().err
    assert ended.value.code == 1
    assert said.startswith("error: the model fails on these inputs with ValueError")
    assert said.endswith("Compare with the model that was compiled.\n")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_what_the_machine_refuses_is_no_mistake_of_ours(call, monkeypatch, number):
    def refuse(*_arguments, **_options):
        raise OSError(number, os.strerror(number), "file.json")

    monkeypatch.delenv("MPCCOMPILE_DEBUG", raising=False)
    monkeypatch.setattr("mpccompile.demo.run.run_demo", refuse)
    assert call("demo") == (1, "", f"error: the system says: {os.strerror(number)} at file.json.\n")


def test_json_is_printed_by_every_command_that_says_something(call):
    names = {name for names in cli.PANELS.values() for name in (each.__name__ for each in names)}
    for name in sorted(names - WITHOUT_JSON):
        assert "--json" in call(f"{name.removesuffix('_model')} --help")[1], name


def test_help_has_an_example_and_breaks_no_line_early(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("compile", "export", "run", "profile", "show", "generate", "evaluate", "tune", "distill", "party"):
        said = call(f"{name} --help")[1]
        assert "Example: mpccompile" in said, name
    sentence = "costs do not depend on values. A first run is not counted; of several others, the one in the middle"
    assert sentence in call("profile --help")[1]


def test_demo_prints_json_beside_what_it_shows(call, monkeypatch):
    from mpccompile.demo.run import DemoResult

    result = DemoResult(1, 1.0, 1.0, 1.0, 0.1, 2.0, 3.0)
    monkeypatch.setattr("mpccompile.demo.run.run_demo", lambda console, **_: console.print("shown") or result)
    code, out, said = call("demo --json")
    assert (code, said) == (0, "shown\n")
    assert json.loads(out)["private_accuracy"] == 1.0


@pytest.mark.parametrize(
    ("shell", "variables", "found"),
    [
        ("bash", {"COMP_WORDS": "mpccompile pro", "COMP_CWORD": "1"}, ["profile"]),
        ("bash", {"COMP_WORDS": "mpccompile profile --tr", "COMP_CWORD": "2"}, ["--trace"]),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "mpccompile pro"}, ["profile"]),
        ("fish", {"_TYPER_COMPLETE_ARGS": "mpccompile pro", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}, ["profile"]),
    ],
)
def test_a_shell_completes_commands_and_options(shell, variables, found):
    script = "import sys; sys.argv = ['mpccompile']; from mpccompile.cli import main; main()"
    environment = {**os.environ, **variables, "_MPCCOMPILE_COMPLETE": f"complete_{shell}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in found)
