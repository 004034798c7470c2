"""Two parties and a dealer on this machine, kept warm between calls and ended with certainty."""

from __future__ import annotations

import math
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, Listener, wait
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from mpccompile import errors
from mpccompile.errors import MpcCompileError, OptionError, PartyLost
from mpccompile.runtime import messages
from mpccompile.runtime.timeline import PREPARE, Span
from mpccompile.runtime.twins import Twins

ROLES = ("dealer", "0", "1")
Request = tuple[Mapping[str, Any], Mapping[str, Tensor]]
START_SECONDS = 120.0
POLL_SECONDS = 0.25
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
    "MALLOC_TOP_PAD_": str(1 << 26),
}
"""glibc would map and clear fresh pages for every tensor over 32 MiB; kept in the heap instead, the dealer's waves take
half the time."""
STOP_SECONDS = 3.0
GRACE_SECONDS = 2.0
"""How long the others may take to report once one of the three has failed: the one at fault may not be the first."""
SHOWN_LINES = 30
"""Lines of a worker's own output that an error repeats."""


@dataclass(frozen=True)
class CallReport:
    """What one call cost, as the parties measured it.

    Attributes:
        online_seconds: From the first input share to the last output share, the slower party.
        offline_seconds: Preparing the call's randomness: the slowest of dealer and parties.
        traffic: Per statement: (line of model.py, bytes rank 0 sent, bytes rank 1 sent, rounds).
        line_seconds: Per statement: (line, seconds at rank 0).
        offline_bytes: What was sent to prepare the randomness, where only the run itself can tell.
        peak_bytes: Most memory that (rank 0, rank 1) held since it started.
        line_offline: As ``line_seconds``, of the randomness, where it is made statement by statement.
        spans: What each process did and when, where the session records it; making the randomness first.
    """

    online_seconds: float
    offline_seconds: float
    traffic: tuple[tuple[int, int, int, int], ...]
    line_seconds: tuple[tuple[int, float], ...]
    offline_bytes: int | None = None
    peak_bytes: tuple[int, int] = (0, 0)
    line_offline: tuple[tuple[int, float], ...] = ()
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True)
class _Prepared:
    """A call whose randomness is there: its number, how long that took, and when each process made it."""

    call: int
    seconds: float
    spans: tuple[Span, ...]


class Session:
    """Starts the three processes, sends them commands and tells when one is gone.

    The workers are started as commands, not forked or re-imported from the caller, so that a plain script without a
    main guard, a notebook and the REPL all work.

    Args:
        device: Where the parties compute.
        threads: Threads of each party and the dealer.
        stock: Run stock CrypTen, with triples from a third process ("TTP") or from rank 0 ("TFP").

    Attributes:
        load_bytes: What rank 0 has sent rank 1 to load programs.
        recording: Whether calls tell when each thing began and ended.
    """

    def __init__(self, device: str = "cpu", threads: int = 1, stock: Literal["", "TTP", "TFP"] = "") -> None:
        self._roles = ROLES[1:] if stock == "TFP" else ROLES
        self._options = ["--threads", str(threads), *(["--stock", stock] if stock else [])]
        self._folder = Path(tempfile.mkdtemp(prefix="mpccompile-"))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._links: dict[str, Connection] = {}
        self._stock = bool(stock)
        self._twins = Twins()
        self.load_bytes = 0
        self.recording = False
        self._calls = 0
        self._text = 0
        self._prepared: dict[str, list[_Prepared]] = {}
        self._loaded: set[str] = set()
        self._lock = threading.RLock()
        # It also runs when the interpreter ends.
        self._finalizer = weakref.finalize(self, _end, self._processes, self._links, self._folder, os.getpid())
        try:
            self._expect_device(device)
            self._start(device, threads)
        except BaseException:
            self._abort()
            raise

    def _expect_device(self, device: str) -> None:
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise OptionError("this machine has no CUDA device", where="option device", hint="Use device='cpu'.")

    def _start(self, device: str, threads: int) -> None:
        key = secrets.token_bytes(32)
        address = str(self._folder / "control")
        with Listener(address, backlog=len(self._roles), authkey=key) as listener:
            for role in self._roles:
                self._processes[role] = self._spawn(role, address, key, threads)
            for _role in self._roles:
                self._accept(listener)
        # The dealer was listening when it said hello, so the parties may call it now.
        for role in ("0", "1"):
            messages.send(self._links[role], {})
        # CrypTen meets over torch.distributed.
        scheme = "file" if "--stock" in self._options else "unix"
        rendezvous = f"{scheme}://{self._folder / 'rendezvous'}"
        self._ask(
            {role: ({"command": "start", "device": device, "rendezvous": rendezvous}, {}) for role in self._roles}
        )

    def _spawn(self, role: str, address: str, key: bytes, threads: int) -> subprocess.Popen[bytes]:
        # -P: a file in the caller's working directory must not stand in for a module of the worker.
        command = [sys.executable, "-P", "-m", "mpccompile.runtime.worker", "--role", role, "--control", address]
        command += ["--dealer", str(self._folder / "dealer"), *self._options]
        root = str(Path(__file__).resolve().parents[2])
        paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        environment = {
            **os.environ,
            **ALLOCATOR,
            "PYTHONPATH": os.pathsep.join(paths),
            "OMP_NUM_THREADS": str(threads),
        }
        with self._log(role).open("wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        assert process.stdin is not None  # noqa: S101 - stdin=PIPE gives one
        process.stdin.write(key.hex().encode() + b"\n")
        process.stdin.close()
        return process

    def _log(self, role: str) -> Path:
        return self._folder / f"{role}.log"

    def _accept(self, listener: Listener) -> None:
        """Wait for the next worker to call, and note which it is."""
        # Listener.accept takes no timeout; its socket does, and a worker that died never connects.
        listener._listener._socket.settimeout(POLL_SECONDS)  # type: ignore[attr-defined]  # noqa: SLF001
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                link = listener.accept()
                hello, _tensors = messages.receive(link)
            except (EOFError, OSError):
                for role in self._ended():
                    raise self._lost(role, "did not start") from None
                continue
            self._links[str(hello["role"])] = link
            return
        missing = next(role for role in self._roles if role not in self._links)
        raise PartyLost(f"{_title(missing)} did not start within {START_SECONDS:.0f} s")

    def load(self, program: str, folder: Path) -> None:
        """Load a package into all three processes, under a name of its own.

        Weights that it shares with programs loaded before are neither sent nor kept again.
        """
        header: dict[str, Any] = {"command": "load", "program": program, "folder": str(folder)}
        with self._lock:
            if not self._stock:
                header |= {"twins": self._twins.add(program, folder)}
            replies = self._ask({role: (header, {}) for role in self._roles})
            self.load_bytes += int(replies["0"][0].get("load_bytes", 0))
            self._loaded.add(program)
            self._prepared[program] = []

    def is_loaded(self, program: str) -> bool:
        """Say whether a program of that name is loaded."""
        return program in self._loaded

    def prepare(self, program: str, calls: int = 1) -> None:
        """Do the offline phase of so many calls ahead of time."""
        with self._lock:
            for _ in range(calls):
                self._prepared[program].append(self._prepare({"program": program}))

    def _prepare(self, header: Mapping[str, Any]) -> _Prepared:
        """Do the offline phase of one call."""
        self._calls += 1
        request = {"command": "prepare", "call": self._calls, **header}
        replies = self._ask({role: (request, {}) for role in self._roles})
        seconds = {role: float(reply["seconds"]) for role, (reply, _) in replies.items()}
        began = {role: float(reply["began"]) for role, (reply, _) in replies.items() if "began" in reply}
        spans = tuple(Span(role, PREPARE, 0, start, start + seconds[role]) for role, start in began.items())
        return _Prepared(self._calls, max(seconds.values()), spans)

    def run(
        self, program: str, inputs: Mapping[str, Tensor], public: frozenset[str], first_row: int | None = None
    ) -> tuple[list[Tensor], CallReport]:
        """Run one call: rank 1 gets every input, rank 0 the public ones; rank 1 returns the outputs.

        Outputs that stay with the parties are put there from ``first_row`` on, and are not returned. At 0 a text
        begins. What such a call needs depends on where it stands in its text, so it is prepared when it is made.
        """
        shown = {name: tensor for name, tensor in inputs.items() if name in public}
        with self._lock:
            if first_row is None:
                if not self._prepared[program]:
                    self.prepare(program)
                ready = self._prepared[program].pop(0)
                header = {"command": "run", "program": program, "call": ready.call}
            else:
                self._text += first_row == 0
                place = {"program": program, "text": self._text, "first_row": first_row}
                ready = self._prepare(place)
                header = {"command": "run", "program": program, "call": ready.call, "first_row": first_row}
            header["record"] = self.recording
            replies = self._ask({"0": (header, shown), "1": (header, dict(inputs))})
        outputs = replies["1"][1]
        ordered = [outputs[str(index)] for index in range(len(outputs))]
        return ordered, self._reported({role: reply for role, (reply, _) in replies.items()}, ready)

    def _reported(self, replies: Mapping[str, Any], ready: _Prepared) -> CallReport:
        slow = max(float(reply["seconds"]) for reply in replies.values())
        during, report = replies["0"], replies["1"]
        traffic = tuple((int(a), int(b), int(c), int(d)) for a, b, c, d in report["traffic"])
        lines = tuple((int(line), float(seconds)) for line, seconds in during["line_seconds"])
        # Stock CrypTen makes its randomness during the call.
        offline_seconds = during.get("offline_seconds", ready.seconds)
        peak = (int(during["peak_bytes"]), int(report["peak_bytes"]))
        apart = tuple((int(line), float(seconds)) for line, seconds in during.get("offline_lines", ()))
        spans = [Span.from_json(role, row) for role in replies for row in replies[role].get("spans", ())]
        seen = (*ready.spans, *spans) if spans else ()
        return CallReport(slow, offline_seconds, traffic, lines, during.get("offline_bytes"), peak, apart, seen)

    def _ask(self, requests: Mapping[str, Request]) -> dict[str, Any]:
        """Send each role its request and return the replies; whatever leaves the three out of step ends them."""
        if self.closed:
            raise PartyLost("the parties have been stopped", hint="Compile or load the model again.")
        failures: dict[str, MpcCompileError] = {}
        try:
            for role, (header, tensors) in requests.items():
                try:
                    messages.send(self._links[role], header, tensors)
                except OSError:
                    raise self._lost(role, "has ended") from None
            replies = self._collect(requests, failures)
        except BaseException:
            self._abort()
            raise
        if not failures:
            return replies
        # Told by everyone who was asked, an error such as a range exceeded leaves them ready for the next call.
        worst = min(failures, key=lambda role: self._blame(role, failures[role]))
        if set(failures) != set(requests) or any(isinstance(error, PartyLost) for error in failures.values()):
            self._abort()
        raise failures[worst]

    def _collect(self, requests: Mapping[str, Request], failures: dict[str, MpcCompileError]) -> dict[str, Any]:
        """Wait for the replies and fill in ``failures``."""
        replies: dict[str, Any] = {}
        waiting = {self._links[role]: role for role in requests}
        deadline = math.inf
        while waiting and time.monotonic() < deadline:
            for link in wait(list(waiting), POLL_SECONDS):
                role = waiting.pop(cast("Connection", link))
                try:
                    replies[role] = self._reply(role)
                except MpcCompileError as error:
                    failures[role] = error
            for role in self._ended():
                if role not in failures and role not in waiting.values():
                    failures[role] = self._lost(role, "ended in the middle of a call")
            if failures:
                deadline = min(deadline, time.monotonic() + GRACE_SECONDS)
        return replies

    def _reply(self, role: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
        try:
            reply, tensors = messages.receive(self._links[role])
        except (EOFError, OSError):
            raise self._lost(role, "ended in the middle of a call") from None
        if not reply.pop("ok"):
            raise _as_error(role, reply)
        return reply, tensors

    def _ended(self) -> list[str]:
        return [role for role, process in self._processes.items() if process.poll() is not None]

    def _lost(self, role: str, what: str) -> PartyLost:
        """Describe a worker that is gone: how it ended, and the last it said."""
        try:
            code = self._processes[role].wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            code = 0
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        # Who was killed had no last words: what it wrote before is about something else.
        text = "" if code == -signal.SIGKILL else self._log(role).read_text(encoding="utf-8", errors="replace")
        lines = text.strip().splitlines()[-SHOWN_LINES:]
        said = ": " + "\n".join([lines[-1], *lines]) if lines else ""
        hint = "If nobody killed it, the machine is out of memory." if code == -signal.SIGKILL else ""
        return PartyLost(f"{_title(role)} {what} ({how}){said}", hint=hint)

    def _blame(self, role: str, error: MpcCompileError) -> int:
        """Order errors: what went wrong, then whose process broke down, then who noticed."""
        if not isinstance(error, PartyLost):
            return 0
        # A worker that cannot go on reports why and ends with exit code 0.
        return 1 if self._processes[role].poll() else 2

    def _abort(self) -> None:
        """End workers that may be stuck, without waiting for them to notice."""
        for process in self._processes.values():
            process.kill()
        self.close()

    @property
    def closed(self) -> bool:
        """Whether the processes have been stopped, by :meth:`close` or because one was lost."""
        return not self._finalizer.alive

    def close(self) -> None:
        """Stop the three processes and remove what they left; safe to call twice."""
        self._finalizer()


def _end(processes: dict[str, subprocess.Popen[bytes]], links: dict[str, Connection], folder: Path, owner: int) -> None:
    if os.getpid() != owner:
        # A fork of the caller has a copy of everything, and none of it is its own.
        return
    for link in links.values():
        # A worker that waits for a command ends when the link does.
        link.close()
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes.values():
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    links.clear()
    processes.clear()
    shutil.rmtree(folder, ignore_errors=True)


def _as_error(role: str, reply: Mapping[str, Any]) -> MpcCompileError:
    kind = getattr(errors, str(reply["error"]), MpcCompileError)
    what = str(reply["what"])
    if "trace" in reply:
        what = f"{_title(role)} failed: {what}\n{reply['trace']}"
    error: MpcCompileError = kind(what, where=str(reply.get("where", "")), hint=str(reply.get("hint", "")))
    return error


def _title(role: str) -> str:
    return "the dealer" if role == "dealer" else f"party {role}"
