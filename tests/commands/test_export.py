"""``mpccompile export`` and what the other commands do with its packages."""

from __future__ import annotations

import json
import logging
import sys

import numpy as np
import pytest
import torch

import mpccompile
from mpccompile import cli
from mpccompile.capture.from_onnx.opened import opened
from mpccompile.errors import InputError, MpcCompileError, OptionError
from tests.capture.from_onnx.exported import OLD, Plain, answer_of, export, sample

LENGTH = 6


@pytest.fixture
def call(monkeypatch, capfd):
    """Run the command in this process and return its exit code, output and error output."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["mpccompile", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capfd.readouterr()
        return ended.value.code or 0, said.out, said.err

    handler = cli.signal.getsignal(cli.signal.SIGTERM)
    yield run
    cli.signal.signal(cli.signal.SIGTERM, handler)
    logging.getLogger("mpccompile").handlers.clear()


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A file of BERT whose batch and length are open, and its model."""
    path = tmp_path_factory.mktemp("onnx") / "tiny-bert.onnx"
    model, inputs = sample("bert", "sdpa", padding_mask=True)
    axes = {name: {0: "batch", 1: "length"} for name in inputs}
    export(path, Plain(model, list(inputs)), inputs, OLD, 14, dynamic_axes=axes)
    return path, inputs


def one_line_error(said):
    lines = [line for line in said.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == 1, said
    assert lines[0].startswith("error: ")
    return lines[0]


def test_a_file_becomes_a_package_that_the_other_commands_take(call, bert, tmp_path):
    path, inputs = bert
    rows = {name: value.numpy() for name, value in inputs.items()}
    np.savez(tmp_path / "x.npz", **rows)
    np.savez(tmp_path / "test.npz", **rows, labels=np.array([0, 1]))
    folder = tmp_path / "bert.mpc"
    options = ["--data", tmp_path / "x.npz", "--input-shape", f"input_ids=2,{LENGTH}"]
    code, out, said = call("export", path, "-o", folder, *options)
    assert (code, said) == (0, "")
    assert f"input_ids: int64 [2, {LENGTH}], secret" in out
    assert f"attention_mask: int64 [2, {LENGTH}], public" in out
    assert "TinyBert" in out
    assert "# model.bert.encoder.layer.1.attention.output.dense" in (folder / "model.py").read_text()
    code, _out, said = call("run", folder, "--input", tmp_path / "x.npz", "--output", tmp_path / "y.npz")
    assert (code, said) == (0, "")
    with np.load(tmp_path / "y.npz") as file:
        assert np.abs(file["logits"] - answer_of(path, inputs)[0].numpy()).max() < 1e-2
    code, out, _said = call("profile", folder, "--input", tmp_path / "x.npz", "--by", "module")
    assert (code, "bert.encoder.layer.0" in out) == (0, True)
    code, out, _said = call("evaluate", folder, "--data", tmp_path / "test.npz", "--json")
    assert (code, bool(json.loads(out))) == (0, True)


def test_approximations_secrets_and_made_up_examples(call, bert, tmp_path):
    path, _inputs = bert
    chosen = ["--gelu", "quad", "--softmax", "*layer.1*=2quad", "--secret", "attention_mask", "--json"]
    code, out, said = call("export", path, "-o", tmp_path / "p", "--input-shape", "input_ids=1,4", *chosen)
    assert code == 0
    assert said.startswith("warning: ranges come from made-up inputs")
    told = json.loads(out)
    assert [each["secrecy"] for each in told["inputs"]] == ["secret", "secret"]
    assert told["outputs"] == ["logits"]
    (package,) = mpccompile.load(tmp_path / "p").packages
    assert [row.op for row in package.statements].count("quadratic") == 2
    assert (tmp_path / "p" / "model.py").read_text().count("'2quad'") == 1


@pytest.mark.parametrize(
    ("options", "message", "code"),
    [
        ([], "dim 0 (batch), dim 1 (length) of input input_ids is open", 2),
        (["--input-shape", "input_ids=1"], "input_ids has 2 dims in the file", 2),
        (["--input-shape", "input_ids=one"], "is no shape", 2),
        (["--input-shape", "ids=1,4"], "there is no input ids", 2),
        (["--input-shape", "input_ids=1,4", "--secret", "ids"], "no input named ids", 2),
        (["--input-shape", "input_ids=1,4", "--gelu", "gauss"], "exact, quad, relu", 2),
        (["--input-shape", "input_ids=1,40"], "fails on operands of shapes", 1),
    ],
)
def test_a_mistake_is_one_line(call, bert, tmp_path, options, message, code):
    ended, out, said = call("export", bert[0], "-o", tmp_path / "p", *options)
    assert message in one_line_error(said)
    assert (ended, out) == (code, "")
    assert not (tmp_path / "p").exists()


def test_what_is_no_model_and_no_place_is_told(call, bert, tmp_path):
    (tmp_path / "cut.onnx").write_bytes(bert[0].read_bytes()[:5000])
    code, _out, said = call("export", tmp_path / "cut.onnx", "-o", tmp_path / "p")
    assert (code, "not an ONNX file" in one_line_error(said)) == (1, True)
    code, _out, said = call("export", tmp_path / "absent.onnx", "-o", tmp_path / "p")
    assert (code, "no such file" in one_line_error(said)) == (1, True)
    for place, message in (("cut.onnx", "is a file"), ("cut.onnx/p", "is a file")):
        code, _out, said = call("export", bert[0], "-o", tmp_path / place)
        assert (code, message in one_line_error(said)) == (2, True)


def test_a_folder_that_cannot_be_written_is_told(call, bert, tmp_path, monkeypatch):
    def refuse(**_arguments):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("mpccompile.commands.files.tempfile.TemporaryFile", refuse)
    code, _out, said = call("export", bert[0], "-o", tmp_path / "p", "--input-shape", "input_ids=1,4")
    assert (code, "Read-only file system" in one_line_error(said)) == (2, True)


def test_everything_that_is_missing_is_printed(call, tmp_path):
    from onnx import helper

    from tests.capture.from_onnx.cases import file_of

    nodes = [
        helper.make_node("Det", ["x"], ["a"], "first"),
        helper.make_node("LSTM", ["x", "x", "x"], ["b"], "second", hidden_size=2),
        helper.make_node("Sum", ["a", "b"], ["y"]),
    ]
    path = file_of(tmp_path / "m.onnx", nodes, {"x": [2, 2]}, ["y"], {})
    code, _out, said = call("export", path, "-o", tmp_path / "p")
    assert code == 1
    assert "Det at first" in said
    assert "LSTM at second" in said
    assert "Traceback" not in said


def test_the_operators_are_listed(call):
    code, out, said = call("passes", "--onnx-ops")
    assert (code, said) == (0, "")
    assert "LayerNormalization" in out
    rows = {row["name"]: row for row in json.loads(call("passes", "--onnx-ops", "--json")[1])}
    assert (rows["Gelu"]["opset"], rows["Gelu"]["values"]) == (20, "secret")
    assert rows["Log"]["values"] == "public"
    assert rows["com.microsoft.BiasGelu"]["opset"] is None
    assert not [name for name in rows if name.startswith("mpccompile")]
    assert all(row["meaning"].endswith(".") for row in rows.values())


def test_python_takes_a_path(bert):
    path, inputs = bert
    with mpccompile.compile(path, example_inputs=inputs) as private:
        answer = private(**inputs)
    assert (answer["logits"] - answer_of(path, inputs)[0]).abs().max() < 1e-2


def test_python_takes_shapes_and_warns(bert, tmp_path):
    path, _inputs = bert
    with pytest.warns(UserWarning, match="made-up inputs"):
        private = mpccompile.compile(str(path), input_shapes={"batch": 1, "length": 4})
    (package,) = private.packages
    assert [spec.shape for spec in package.inputs] == [(1, 4), (1, 4)]
    with pytest.raises(InputError, match="is open in the file"):
        opened(path, None, {"batch": 1})
    with pytest.raises(OptionError, match="input_shapes is for ONNX files"):
        mpccompile.compile(torch.nn.Linear(2, 2), input_shapes={"input": (1, 2)})
    with pytest.raises(MpcCompileError, match="generate"):
        private.generate(torch.tensor([[1, 2, 3, 4]]), max_new_tokens=1)
