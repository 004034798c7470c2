"""The processes behind a private model: started, kept, reused, lost and ended."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import nn

import mpccompile
from mpccompile.errors import InputError, MpcCompileError, PartyLost, RangeExceeded
from mpccompile.runtime import session as sessions
from mpccompile.runtime.session import Session
from tests import models

ROOT = Path(__file__).resolve().parents[2]
LOST_SECONDS = 10
WORKER = "mpccompile.runtime.worker"
TOLERANCE = 1e-2


def workers_of(parent):
    """Worker processes that are children of ``parent``."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            command = (folder / "cmdline").read_text(encoding="utf-8")
        except OSError:
            continue
        if int(status[1]) == parent and WORKER in command:
            found.append(int(folder.name))
    return found


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def processes_of(private):
    return private._session._processes


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert condition()


def error_of(answer, expected):
    return float((answer - expected).abs().max())


@pytest.fixture(scope="module")
def mlp():
    """A private perceptron, its inputs and its answer; a test that ends its processes leaves it usable."""
    model, inputs = models.mlp()
    with mpccompile.compile(model, example_inputs=inputs) as private, torch.no_grad():
        yield private, inputs["input"], model(**inputs)


@pytest.fixture(scope="module")
def package(mlp, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "package"
    mlp[0].save(folder)
    return folder


# -------------------------------------------------------------------------------------------------------- ordinary life


def test_calls_share_processes_which_close_ends(mlp):
    private, x, expected = mlp
    first = private(x)
    pids = {role: process.pid for role, process in processes_of(private).items()}
    assert set(pids) == {"dealer", "0", "1"}
    assert set(pids.values()) == set(workers_of(os.getpid()))
    folder = private._session._folder
    assert error_of(first, expected) < TOLERANCE
    assert error_of(private(input=x), expected) < TOLERANCE
    assert {role: process.pid for role, process in processes_of(private).items()} == pids
    private.close()
    assert not any(alive(pid) for pid in pids.values())
    assert not folder.exists()
    private.close()


def test_a_with_block_ends_the_processes_even_after_an_error(package):
    pids = []

    def fail():
        with mpccompile.load(package) as private:
            private.prepare()
            pids.extend(process.pid for process in processes_of(private).values())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert len(pids) == 3
    assert not any(alive(pid) for pid in pids)


def test_a_plain_script_needs_no_main_guard_and_leaves_nothing(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    # The working directory is nobody's module path.
    (tmp_path / "elsewhere" / "safetensors.py").write_text("raise SystemExit('shadowed')", encoding="utf-8")
    script = tmp_path / "plain.py"
    script.write_text(
        "import torch, mpccompile\n"
        "from torch import nn\n"
        "model = nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval()\n"
        "x = torch.randn(2, 4)\n"
        "private = mpccompile.compile(model)\n"
        "print('error', float((private(x) - model(x)).abs().max()))\n"
        "print('pids', *(process.pid for process in private._session._processes.values()))\n",
        encoding="utf-8",
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path / "elsewhere",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    error, pids = re.fullmatch(r"error (\S+)\npids (.*)\n", done.stdout).groups()
    assert float(error) < TOLERANCE
    assert len(pids.split()) == 3
    assert not any(alive(int(pid)) for pid in pids.split())


def test_prepared_calls_skip_the_offline_phase(mlp, monkeypatch):
    private, x, expected = mlp
    private.prepare(2)
    prepared = [each.seconds for each in next(iter(private._session._prepared.values()))]
    assert len(prepared) == 2
    with monkeypatch.context() as patch:
        patch.setattr(Session, "prepare", lambda *_: pytest.fail("prepared again"))
        for seconds in prepared:
            assert error_of(private(x), expected) < TOLERANCE
            assert private.last_profile().offline_seconds == seconds
    private(x)
    assert private.last_profile().offline_seconds not in prepared


def test_calls_of_several_threads_do_not_mix(mlp):
    private, x, expected = mlp
    private(x)
    answers = {}

    def call(scale):
        answers[scale] = private(x * scale)

    threads = [threading.Thread(target=call, args=(scale,)) for scale in (0.25, 0.5, 1.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert error_of(answers[1.0], expected) < TOLERANCE
    assert set(answers) == {0.25, 0.5, 1.0}
    assert error_of(answers[0.25], answers[0.5]) > TOLERANCE


def test_a_saved_package_gives_the_same_answers(mlp, package):
    private, x, _expected = mlp
    with mpccompile.load(package) as loaded:
        assert error_of(loaded(x), private(x)) < 2**-12


def test_another_batch_size_is_compiled_and_told(mlp, caplog):
    private, x, expected = mlp
    more = torch.cat([x, x[:1]])
    private.compile_for({"input": x})
    with caplog.at_level(logging.INFO, logger="mpccompile"):
        answer = private(more)
    assert any("new input shapes" in record.message and "(3, 8)" in record.message for record in caplog.records)
    assert error_of(answer, torch.cat([expected, expected[:1]])) < TOLERANCE
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="mpccompile"):
        private(x)
        private(more)
    assert not caplog.records


def test_a_transformer_is_answered_in_its_own_type_twice():
    model, inputs = models.bert(padding_mask=True)
    with torch.no_grad(), mpccompile.compile(model, example_inputs=inputs) as private:
        expected = model(**inputs)
        for _call in range(2):
            answer = private(**inputs)
            assert type(answer) is type(expected)
            assert error_of(answer.logits, expected.logits) < TOLERANCE
        assert private.last_profile().static_agrees


# --------------------------------------------------------------------------------------------------------------- losses


@pytest.mark.parametrize("victim", ["0", "1", "dealer"])
def test_a_process_killed_in_mid_call_is_named_and_none_is_left(victim, mlp):
    private, x, expected = mlp
    private(x)
    processes = dict(processes_of(private))
    # The call cannot end before the kill: the victim stands still.
    processes[victim].send_signal(signal.SIGSTOP)
    threading.Timer(0.3, processes[victim].kill).start()
    started = time.monotonic()
    name = "the dealer" if victim == "dealer" else f"party {victim}"
    with pytest.raises(PartyLost, match=f"{name} ended in the middle of a call .killed by SIGKILL"):
        private(x)
    assert time.monotonic() - started < LOST_SECONDS
    assert not any(alive(process.pid) for process in processes.values())
    assert error_of(private(x), expected) < TOLERANCE


def test_a_process_killed_between_calls_is_noticed_by_the_next(mlp):
    private, x, _expected = mlp
    private(x)
    processes = dict(processes_of(private))
    processes["1"].kill()
    processes["1"].wait()
    with pytest.raises(PartyLost, match=r"party 1 .*ended"):
        private(x)
    assert not any(alive(process.pid) for process in processes.values())


def test_ctrl_c_ends_everything_at_once(mlp):
    private, x, _expected = mlp
    private(x)
    processes = dict(processes_of(private))
    processes["0"].send_signal(signal.SIGSTOP)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        private(x)
    assert time.monotonic() - started < 5
    assert not any(alive(process.pid) for process in processes.values())


def test_what_only_one_party_notices_does_not_leave_the_other_waiting(mlp):
    private, x, expected = mlp
    private(x)
    session = private._session
    program = next(iter(session._loaded))
    started = time.monotonic()
    with pytest.raises(InputError, match="outside the range"):
        session.run(program, {"input": x * 1e30}, frozenset())
    assert time.monotonic() - started < LOST_SECONDS
    assert session.closed
    with pytest.raises(PartyLost, match="have been stopped"):
        session.run(program, {"input": x}, frozenset())
    assert error_of(private(x), expected) < TOLERANCE


def test_what_both_parties_notice_leaves_them_ready():
    model = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 2)).eval()
    x = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), mpccompile.compile(model, example_inputs={"input": x}) as private:
        with pytest.raises(RangeExceeded, match="left the range"):
            private(x * 12)
        pids = [process.pid for process in processes_of(private).values()]
        assert error_of(private(x), model(x)) < TOLERANCE
        assert [process.pid for process in processes_of(private).values()] == pids


def test_killing_the_caller_leaves_no_orphan(package):
    script = (
        "import mpccompile, sys, time\n"
        f"private = mpccompile.load({str(package)!r})\n"
        "private.prepare()\n"
        "print(*(process.pid for process in private._session._processes.values()), flush=True)\n"
        "time.sleep(100)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True) as caller:
        pids = [int(pid) for pid in caller.stdout.readline().split()]
        assert len(pids) == 3
        assert all(alive(pid) for pid in pids)
        caller.kill()
    wait_until(lambda: not any(alive(pid) for pid in pids), 5)


def test_a_worker_that_cannot_start_says_why(tmp_path, monkeypatch):
    (tmp_path / "crypten").mkdir()
    (tmp_path / "crypten" / "__init__.py").write_text("raise ImportError('a broken installation')", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    before = set(workers_of(os.getpid()))
    with pytest.raises(PartyLost, match=r"did not start \(exit code 1\): ImportError: a broken installation"):
        Session()
    assert set(workers_of(os.getpid())) == before


def test_a_fork_of_the_caller_ends_nothing(tmp_path):
    class Process:
        def __getattr__(self, name):
            pytest.fail(f"{name} of a process of somebody else")

    sessions._end({"0": Process()}, {}, tmp_path, owner=os.getpid() + 1)
    assert tmp_path.exists()


def test_only_party_0_reads_the_weights(package, tmp_path):
    model, inputs = models.mlp()
    without = tmp_path / "without"
    shutil.copytree(package, without)
    (without / "weights.safetensors").unlink()
    session = Session()
    try:
        folders = {"0": package, "1": without, "dealer": without}
        load = {"command": "load", "program": "one"}
        session._ask({role: ({**load, "folder": str(folder)}, {}) for role, folder in folders.items()})
        session._prepared["one"] = []
        (answer,), _report = session.run("one", inputs, frozenset())
        assert error_of(answer, model(**inputs)) < TOLERANCE
        with pytest.raises(MpcCompileError, match=r"party 0 failed.*weights\.safetensors"):
            session.load("two", without)
    finally:
        session.close()
