"""The command line: what it prints, what it refuses, and with which exit code."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

import mpccompile
from mpccompile import cli, compiler
from mpccompile.commands import small
from mpccompile.errors import MpcCompileError
from mpccompile.report import doctor
from tests import models


def bert():
    """A factory for the command."""
    return models.bert()


ROOT = Path(__file__).resolve().parents[1]
FACTORIES = """
import torch
from torch import nn
from tests import models
from tests.test_cli import small_norm

number = 3
instance = models.mlp()[0]
def mlp(): return models.mlp()
def norm(): return small_norm()
def bare(): return models.mlp()[0]
def nothing(): return None
def listed(): return models.mlp()[0], [torch.zeros(2, 8)]
def broken(): raise ValueError("out of luck\\nand more")
"""


def small_norm():
    """A layer norm that has seen small numbers only."""
    model = torch.nn.Sequential(torch.nn.LayerNorm(8)).eval()
    return model, {"input": 1e-2 * torch.randn(2, 8, generator=torch.Generator().manual_seed(0))}


@pytest.fixture
def call(monkeypatch, capfd):
    """Run the command in this process and return its exit code, output and error output."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["mpccompile", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capfd.readouterr()
        return ended.value.code or 0, said.out, said.err

    logger = logging.getLogger("mpccompile")
    handlers, level, on_term = list(logger.handlers), logger.level, signal.getsignal(signal.SIGTERM)
    yield run
    logger.handlers, logger.level = handlers, level
    signal.signal(signal.SIGTERM, on_term)


@pytest.fixture
def factories(tmp_path, monkeypatch):
    """A working directory with a module of factories."""
    (tmp_path / "cli_factories.py").write_text(FACTORIES, encoding="utf-8")
    (tmp_path / "cli_broken.py").write_text("import a_module_that_is_not_there", encoding="utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "mlp"
    model, inputs = models.mlp()
    mpccompile.compile(model, example_inputs=inputs).save(folder)
    return folder


@pytest.fixture
def arrays(tmp_path):
    path = tmp_path / "inputs.npz"
    # numpy's own dtype is float64.
    np.savez(path, input=models.mlp()[1]["input"].numpy().astype(np.float64))
    return path


def one_line_error(said):
    lines = said.splitlines()
    assert len(lines) == 1, said
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"], ["distill", "--help"]])
def test_help_and_version_load_no_heavy_library(arguments):
    script = (
        "import sys\n"
        f"sys.argv = ['mpccompile', *{arguments}]\n"
        "from mpccompile.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    heavy = {'torch', 'numpy', 'transformers', 'crypten', 'tokenizers'} & set(sys.modules)\n"
        "    sys.exit(end.code or (f'imported {heavy}' if heavy else 0))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "mpccompile" in done.stdout


def test_the_version_is_the_packages(call):
    assert call("--version") == (0, f"mpccompile {mpccompile.__version__}\n", "")


@pytest.mark.parametrize("arguments", [["nonsense"], ["run"], ["run", "a", "b"], ["profile", "p", "--by", "x"]])
def test_a_usage_error_exits_with_2(call, arguments):
    code, _out, said = call(*arguments)
    assert code == 2
    assert "Usage:" in said


def test_help_tells_the_exit_codes(call):
    assert "Exit codes: 0 it is done; 1 it failed; 2" in " ".join(call("--help")[1].split())


def test_an_error_is_one_line_and_exit_code_1(call, monkeypatch):
    def fail(*_arguments, **_options):
        raise MpcCompileError("the first line\nthe trace of a worker", hint="A hint.")

    monkeypatch.setattr("mpccompile.demo.run.run_demo", fail)
    assert call("demo") == (1, "", "error: the first line\n")


def test_ctrl_c_exits_with_130(call, monkeypatch):
    def interrupt(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("mpccompile.demo.run.run_demo", interrupt)
    code, out, said = call("demo")
    assert (code, out) == (130, "")
    assert "Traceback" not in said


DROPPED = """
import signal, time, weakref
from mpccompile import cli

class Thing:
    pass

def work():
    thing = Thing()
    seen = weakref.ref(thing, lambda _gone: signal.raise_signal(signal.{name}))
    del thing
    time.sleep(30)

cli.app = work
cli.main()
"""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", -signal.SIGINT), ("SIGTERM", 128 + signal.SIGTERM)])
def test_an_interrupt_that_python_drops_ends_it_all_the_same(name, code):
    script = DROPPED.format(name=name)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=25)
    assert done.returncode == code
    assert "Exception ignored" not in done.stderr


def test_a_warning_is_a_sentence(call, monkeypatch):
    def warn(*_arguments, **_options):
        warnings.warn("ranges are wide", UserWarning, stacklevel=1)
        return Finished()

    @dataclass
    class Finished:
        answers: int = 1

    monkeypatch.setattr("mpccompile.demo.run.run_demo", warn)
    shown = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert call("demo") == (0, "", "warning: ranges are wide\n")
    assert warnings.showwarning is shown


def test_a_mistake_of_ours_asks_for_a_report(call, monkeypatch):
    def stumble(*_arguments, **_options):
        raise IndexError("of ours")

    monkeypatch.setattr("mpccompile.demo.run.run_demo", stumble)
    monkeypatch.delenv("MPCCOMPILE_DEBUG", raising=False)
    code, _out, said = call("demo")
    assert code == 1
    assert said.startswith("error: IndexError: of ours\n")
    assert "report it" in said
    assert "Traceback" not in said
    monkeypatch.setenv("MPCCOMPILE_DEBUG", "1")
    assert "Traceback" in call("demo")[2]


def test_the_demo_is_given_a_console_and_is_smaller_when_quick(call, monkeypatch):
    given = []
    monkeypatch.setattr("mpccompile.demo.run.run_demo", lambda console, **options: given.append((console, options)))
    assert call("demo")[0] == 0
    assert call("demo", "--quick")[0] == 0
    assert all(isinstance(console, Console) for console, _options in given)
    (_first, full), (_second, quick) = given
    assert full == {}
    assert quick["training_steps"] < 300


def test_compile_writes_a_package(call, factories):
    code, out, said = call("-v", "compile", "cli_factories:mlp", "-o", "package", "--tolerance", "0.01")
    assert code == 0, said
    assert "package: Sequential" in out
    package = mpccompile.load(factories / "package").packages[0]
    assert package.options.tolerance == 0.01
    assert "INFO mpccompile" in said


def test_compile_takes_inputs_and_options(call, factories, arrays):
    np.savez(arrays, input=np.zeros((5, 8)))
    options = ["--option", "frac_bits=15", "--option", "secret=input", "--target", "mpccompile"]
    code, _out, said = call("compile", "cli_factories:bare", "-o", "package", "--input", arrays, *options)
    assert code == 0, said
    package = mpccompile.load(factories / "package").packages[0]
    assert package.inputs[0].shape == (5, 8)
    assert package.options.frac_bits == 15
    assert package.options.secret == ("input",)


def test_compile_takes_approximations(call, factories):
    chosen = ["--gelu", "quad", "--gelu", "*intermediate*=relu", "--option", "softmax=2quad,*.layer.1.*=exact"]
    assert call("compile", "tests.test_cli:bert", "-o", "package", *chosen)[0] == 0
    (package,) = mpccompile.load(factories / "package").packages
    assert package.options.chosen("gelu") == (("*", "quad"), ("*intermediate*", "relu"))
    assert [row.op for row in package.statements if row.op in {"quadratic", "relu"}] == ["relu", "relu"]
    assert [row.op for row in package.statements if row.op == "attend"] == ["attend"] * 2
    source = (package.folder / "model.py").read_text()
    assert source.count("'2quad'") == source.count("'exp'") == 1
    code, _out, said = call("compile", "tests.test_cli:bert", "-o", "other", "--gelu", "gauss")
    assert (code, "exact, quad, relu" in one_line_error(said)) == (2, True)


def test_compile_takes_a_model_that_is_no_function(call, factories, arrays):
    assert call("compile", "cli_factories:instance", "-o", "package", "--input", arrays)[0] == 0


def test_compile_keeps_what_is_in_a_folder(call, factories):
    (factories / "full").mkdir()
    (factories / "full" / "letter").touch()
    assert "full is not empty" in one_line_error(call("compile", "cli_factories:mlp", "-o", "full")[2])
    assert call("compile", "cli_factories:mlp", "-o", "full", "--force")[0] == 0
    assert (factories / "full" / "letter").exists()
    assert "is a file" in one_line_error(call("compile", "cli_factories:mlp", "-o", "cli_factories.py")[2])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cli_factories", "'cli_factories' names no factory"),
        ("no_such_module:f", "there is no module no_such_module"),
        ("cli_factories.inner:f", "there is no module cli_factories.inner"),
        ("cli_broken:f", "importing cli_broken failed with ModuleNotFoundError: No module named 'a_module_that"),
        ("cli_factories:absent", "the module cli_factories has no absent"),
        ("cli_factories:number", "cli_factories:number is of type int, not a function"),
        ("cli_factories:nothing", "what cli_factories:nothing returns is nothing"),
        ("cli_factories:listed", "the example inputs of cli_factories:listed are of type list"),
        ("cli_factories:broken", "calling cli_factories:broken failed with ValueError: out of luck"),
    ],
)
def test_a_factory_that_makes_no_model_is_told(call, factories, name, message):
    code, out, said = call("compile", name, "-o", "package")
    # A name that means nothing is a mistake of the command line; what it names may also fail.
    assert (code, out) == (1 if "failed" in message else 2, "")
    assert message in one_line_error(said)
    assert not (factories / "package").exists()


def test_compile_without_inputs_is_a_usage_error(call, factories):
    code, _out, said = call("compile", "cli_factories:bare", "-o", "package")
    assert code == 2
    assert "--input" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--option", "frac_bits"], "'frac_bits' is not an option"),
        (["--option", "frac_bits=many"], "frac_bits='many' is not a number"),
        (["--option", "colour=red"], "unknown option colour"),
        (["--option", "embedding=open"], "embedding='open' is not a choice"),
        (["--tolerance", "2"], "tolerance=2.0 is not between 0 and 1"),
    ],
)
def test_an_option_that_means_nothing_is_told(call, factories, options, message):
    code, _out, said = call("compile", "cli_factories:mlp", "-o", "package", *options)
    assert (code, message in one_line_error(said)) == (2, True)


def test_run_writes_the_models_outputs(call, package, arrays, tmp_path):
    code, out, said = call("run", package, "--input", arrays, "--output", tmp_path / "outputs.npz")
    assert (code, said) == (0, "")
    assert "output: float32 [2, 3]" in out
    assert "rounds" in out
    model, inputs = models.mlp()
    with np.load(tmp_path / "outputs.npz") as file, torch.no_grad():
        assert file.files == ["output"]
        assert (torch.from_numpy(file["output"]) - model(**inputs)).abs().max() < 1e-2


def test_run_prints_small_outputs_and_json(call, package, arrays):
    code, out, _said = call("run", package, "--input", arrays, "--repeat", "2", "--json")
    assert code == 0
    said = json.loads(out)
    assert said["outputs"] == {"output": {"shape": [2, 3], "dtype": "float32"}}
    assert len(said["online_seconds"]) == 2
    assert said["rounds"] > 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"other": np.zeros((2, 8))}, "input input is missing"),
        ({"input": np.zeros((3, 8))}, "input input has shape [3, 8]"),
        ({"input": np.zeros((2, 8), dtype=np.int64)}, "input input has dtype torch.int64"),
        ({"input": np.full((2, 8), np.nan)}, "NaN"),
        ({"input": np.array(["text"])}, "not an .npz file of numbers"),
        ({"input": np.array([None], dtype=object)}, "not an .npz file of numbers"),
        (None, "not an .npz file of numbers"),
        (np.zeros((2, 8)), "not an .npz file of numbers"),
    ],
)
def test_wrong_inputs_are_told(call, package, tmp_path, content, message):
    path = tmp_path / "inputs.npz"
    with path.open("wb") as file:
        if isinstance(content, dict):
            np.savez(file, **content)
        elif content is None:
            file.write(b"something else")
        else:
            np.save(file, content)
    code, _out, said = call("run", package, "--input", path)
    assert code == 1
    assert message in one_line_error(said)


def test_run_names_what_is_missing(call, package, arrays, tmp_path):
    assert call("run", package)[0] == 2
    assert "there is no such file" in one_line_error(call("run", package, "--input", tmp_path / "absent.npz")[2])
    assert "no manifest.json" in one_line_error(call("run", tmp_path, "--input", arrays)[2])
    nowhere = ["--output", tmp_path / "no" / "outputs.npz"]
    assert "there is no such folder" in one_line_error(call("run", package, "--input", arrays, *nowhere)[2])


def test_profile_needs_no_inputs(call, package):
    code, out, said = call("profile", package)
    assert (code, said) == (0, "")
    assert "linear" in out
    assert "total" in out


def test_profile_by_module_and_as_json(call, package, arrays):
    code, out, _said = call("profile", package, "--by", "module", "--input", arrays, "--repeat", "3")
    assert code == 0
    assert "Online cost by module" in out
    code, out, _said = call("profile", package, "--json")
    assert code == 0
    assert {"rows", "rounds", "bytes_sent", "online_seconds"} <= set(json.loads(out))


def test_profile_says_when_made_up_inputs_do_not_do(call, factories):
    assert call("compile", "cli_factories:norm", "-o", "norm")[0] == 0
    code, _out, said = call("profile", "norm")
    assert code == 1
    assert "made-up inputs are not in the calibrated ranges. Give --input" in one_line_error(said)


def test_device_is_checked_before_anything_starts(call, package):
    code, _out, said = call("profile", package, "--device", "tpu")
    assert (code, "'tpu' is not a device" in one_line_error(said)) == (2, True)
    if not torch.cuda.is_available():
        code, _out, said = call("profile", package, "--device", "cuda")
        assert (code, "no CUDA device" in one_line_error(said)) == (2, True)


def test_passes_are_listed_with_what_they_do(call):
    code, out, said = call("passes")
    assert (code, said) == (0, "")
    always = [each.__name__ for each in (*compiler.RECOGNISERS, *compiler.EXACT_PASSES)]
    assert [line.split()[0] for line in out.splitlines()[: len(always)]] == always
    assert all(text in out for text in ("gelu=quad", "softmax=2quad", "0.88 on [-3, 3]", "MPCFormer"))
    assert "before:" not in out
    assert "before:" in call("passes", "--verbose")[1]
    listed = json.loads(call("passes", "--json")[1])
    assert all(each["summary"].endswith(".") for each in listed["passes"])
    assert all("after:" in each["details"] for each in listed["passes"])
    assert {each["replaces"] for each in listed["approximations"]} == {"gelu", "softmax"}
    assert all(each["source"] and each["accuracy"] and each["typical_error"] > 0 for each in listed["approximations"])


def test_the_doctor_runs_something(call):
    code, out, said = call("doctor", "--json")
    findings = {finding["name"]: finding for finding in json.loads(out)}
    assert code == 0, said
    assert torch.__version__.startswith(findings["torch"]["value"].split("+")[0])
    assert findings["private run"]["works"] is True
    assert findings["matrix kernel"]["works"] is True
    assert {"python", "crypten", "transformers", "processor", "features", "cores", "memory", "gpu"} <= set(findings)


def test_the_doctor_fails_with_what_fails(call, monkeypatch):
    monkeypatch.setattr(small, "run_privately", lambda: 1.0)
    code, out, _said = call("doctor")
    assert code == 1
    assert "the result is wrong by 1" in out
    assert "FAILED" in out


def test_the_doctor_lives_without_proc_and_packages(monkeypatch):
    monkeypatch.setattr(doctor, "_read", lambda _path: "")
    assert doctor._version("no-such-distribution").works is False
    assert doctor._features().value == "unknown on this system"
    assert doctor._memory().value == "unknown on this system"

    def fail():
        raise MpcCompileError("nothing works\nat all")

    failed = doctor._private_run(fail)
    assert (failed.works, failed.value) == (False, "MpcCompileError: nothing works")
    assert doctor._private_run(lambda: float("nan")).works is False


def test_a_key_file_is_made_once(call, tmp_path):
    assert call("key", tmp_path / "key")[0] == 0
    assert "File exists" in one_line_error(call("key", tmp_path / "key")[2])


def test_each_party_is_asked_for_what_it_has(call, package, arrays):
    lines = ["--dealer", "127.0.0.1:1", "--peer", "127.0.0.1:2"]
    assert call("party", package, "--rank", "1", *lines)[0] == 2
    assert call("party", package, "--rank", "0", "--input", arrays, *lines)[0] == 2
    assert call("party", package, "--rank", "2", *lines)[0] == 2


def test_a_run_over_machines_needs_a_key(call, package, arrays):
    party = ["party", package, "--rank", "1", "--input", arrays]
    code, _out, said = call(*party, "--dealer", "10.0.0.1:80", "--peer", "127.0.0.1:80")
    assert code == 2
    assert "needs a key file" in one_line_error(said)
    assert "is not an address" in one_line_error(call(*party, "--dealer", "here", "--peer", "127.0.0.1:80")[2])
    assert "needs a key file" in one_line_error(call("dealer", package, "--listen", "0.0.0.0:80")[2])


def test_wrong_inputs_are_told_before_anybody_is_called(call, package, tmp_path):
    np.savez(tmp_path / "inputs.npz", input=np.zeros((4, 8)))
    lines = ["--dealer", "127.0.0.1:1", "--peer", "127.0.0.1:2", "--input", tmp_path / "inputs.npz"]
    said = call("party", package, "--rank", "1", *lines)[2]
    assert "input input has shape [4, 8]" in one_line_error(said)
