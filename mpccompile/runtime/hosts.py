"""One process of a run over several machines: a party or the dealer, without a controller.

The three processes run the same package once. The dealer is the meeting point: it starts the others when both are
there, and each process ends with an error when a line to or from the dealer closes early, so that none is left waiting.
"""

from __future__ import annotations

import hashlib
import json
import logging
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from mpccompile.errors import PartyLost
from mpccompile.runtime import addresses, messages, sealed
from mpccompile.runtime.program import InputDescription, ProgramDescription, dtype_of
from mpccompile.runtime.session import CallReport
from mpccompile.runtime.worker import DealerWorker, PartyWorker

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

    from mpccompile.runtime.addresses import Address

logger = logging.getLogger(__name__)

T = TypeVar("T")
Stage = Callable[[str], None]

PARTIES = 2
THREAD_NAME = "mpccompile-host"
"""A thread of this name may never end, so a process that has one has to be left by os._exit."""
CALL = 1
"""Number of the only call."""
WAIT_SECONDS = 60.0
POLL_SECONDS = 0.2
HANG_UP = getattr(select, "POLLRDHUP", 0)
"""The other side closed its end. Where this event does not exist, POLLHUP tells it, and that is never left out."""
LAST_WORD_SECONDS = 2.0
"""How long a process that lost the dealer may take to find out why on its own."""


@dataclass(frozen=True)
class Meeting:
    """What the three processes agree on before they start.

    Attributes:
        dealer: Where the dealer listens.
        key: The secret of the key file; empty on one machine.
        wait_seconds: How long to wait for the others.
        stage: Told what is being done.
    """

    dealer: Address
    key: bytes
    wait_seconds: float = WAIT_SECONDS
    stage: Stage = field(default=lambda _text: None)

    def tell(self, text: str) -> None:
        """Say what is being done."""
        logger.info(text)
        self.stage(text)


def deal(folder: Path, meeting: Meeting, device: str = "cpu") -> None:
    """Deal the randomness of one run, and stay until both parties are done.

    Raises:
        PartyLost: If the address cannot be used, or a party does not come, has another key or ends early.
    """
    package = _digest(folder)
    deadline = time.monotonic() + meeting.wait_seconds
    with addresses.listen(meeting.dealer) as listener:
        meeting.tell("waiting for the parties")
        links = _gather(listener, package, meeting.key, deadline)
    worker = DealerWorker(iter(links.values()).__next__)
    started = threading.Event()

    def work() -> None:
        with _as_lost("a party ended before the run began"):
            worker.start(device)
        started.set()
        meeting.tell("dealing")
        worker.load(package, str(folder))
        with _as_lost("party 1 ended in the middle of the run"):
            worker.prepare(package, CALL)

    task = _start(work)
    running = dict(links)
    while running:
        # Until then, what the parties say is for the worker; that one leaves is not.
        for rank in _ready(running, select.POLLIN if started.is_set() else 0):
            _farewell(rank, running.pop(rank), started=started.is_set())
        if task.done():
            task.result()
    task.result()


def _gather(listener: socket.socket, package: str, key: bytes, deadline: float) -> dict[int, Connection]:
    """Wait for both parties and tell them to start, or why not."""
    links: list[Connection] = []
    ranks: list[int] = []
    refusal = ""
    while len(links) < PARTIES and not refusal:
        try:
            link, rank, theirs = _next_party(listener, key, deadline, ranks)
        except PartyLost as error:
            _tell(links, {"refusal": error.what})
            raise
        if rank in ranks:
            refusal = f"there are two parties {rank}"
        elif theirs != package:
            refusal = f"party {rank} has another package than the dealer"
        links.append(link)
        ranks.append(rank)
    _tell(links, {"refusal": refusal})
    if refusal:
        raise PartyLost(refusal)
    return dict(zip(ranks, links, strict=True))


def _next_party(
    listener: socket.socket, key: bytes, deadline: float, here: Sequence[int]
) -> tuple[Connection, int, str]:
    """Wait for a party that has not come yet, and return the link to it, its rank and its package."""
    while (left := deadline - time.monotonic()) > 0:
        listener.settimeout(left)
        try:
            line, _address = listener.accept()
            link = sealed.secure(line, key, client=False)
            hello, _tensors = messages.receive(link)
        except (OSError, EOFError):
            # Nobody came, or somebody who is no party: port scanners and health checks come by.
            continue
        return link, int(hello["rank"]), str(hello["package"])
    names = " and ".join(f"party {rank}" for rank in range(PARTIES) if rank not in here)
    raise PartyLost(f"{names} did not come in time")


def _tell(links: Iterable[Connection], verdict: Mapping[str, str]) -> None:
    for link in links:
        try:
            messages.send(link, verdict)
        except OSError:
            continue


def _ready(links: Mapping[int, Connection], events: int) -> list[int]:
    """Return the parties that left, and those of which ``events`` are true."""
    poll = select.poll()
    for link in links.values():
        poll.register(link.fileno(), events | HANG_UP)
    ready = {fd for fd, _event in poll.poll(1000 * POLL_SECONDS)}
    return [rank for rank, link in links.items() if link.fileno() in ready]


def _farewell(rank: int, link: Connection, *, started: bool) -> None:
    """Take the last, and after the start only, message of a party."""
    if not started:
        raise PartyLost(f"party {rank} ended before the run began")
    with _as_lost(f"party {rank} ended in the middle of the run"):
        last, _tensors = messages.receive(link)
    if last["error"] == PartyLost.__name__:
        raise PartyLost(f"party {rank} lost party {1 - rank}")
    if last["error"]:
        raise PartyLost(f"party {rank} stopped with {last['error']}", hint="Its own output says why.")


def take_part(
    rank: int,
    folder: Path,
    meeting: Meeting,
    peer: Address,
    inputs: Mapping[str, Tensor],
    device: str = "cpu",
) -> tuple[list[Tensor], CallReport]:
    """Run one party once.

    Args:
        rank: 0 owns the weights, 1 the inputs.
        folder: The package; rank 1 needs no weights file in it.
        meeting: Where the dealer is.
        peer: Where rank 0 listens for rank 1; its own address at rank 0.
        inputs: At rank 1, every input.
        device: Where to compute.

    Returns:
        At rank 1 the flat outputs, else nothing; and what the run cost, as this party measured it.

    Raises:
        PartyLost: If the dealer or the other party cannot be reached, has another key or ends early.
        RangeExceeded: If a private value left its calibrated range.
    """
    if rank == 0:
        with addresses.listen(peer):
            meeting.tell("checking the address")
    link = _meet_dealer(rank, _digest(folder), meeting)
    party = _HostParty(rank, link)
    met = threading.Event()

    def work() -> tuple[list[Tensor], CallReport]:
        with _as_lost("the dealer ended before the run began"):
            party.start(device, f"tcp://{peer}")
        met.set()
        return party.run_once(_digest(folder), folder, dict(inputs), meeting.tell)

    meeting.tell("meeting the other party")
    try:
        result = _while_linked(_start(work), link, met, meeting, f"party {1 - rank}")
    except BaseException as error:
        _tell([link], {"error": type(error).__name__})
        raise
    party.leave()
    _tell([link], {"error": ""})
    return result


def _meet_dealer(rank: int, package: str, meeting: Meeting) -> Connection:
    """Connect to the dealer and wait until both parties are there."""
    meeting.tell(f"waiting for the dealer at {meeting.dealer}")
    deadline = time.monotonic() + meeting.wait_seconds
    with _as_lost(f"the dealer at {meeting.dealer} ended, or is no dealer of this version"):
        link = sealed.secure(addresses.dial(meeting.dealer, deadline), meeting.key, client=True)
    meeting.tell("waiting for the other party")
    with _as_lost("the dealer ended before the run began"):
        messages.send(link, {"rank": rank, "package": package})
        # The dealer may have started later, and waits as long as this party does.
        if not link.poll(2 * meeting.wait_seconds):
            raise PartyLost(f"the dealer at {meeting.dealer} does not answer")
        verdict, _tensors = messages.receive(link)
    if verdict["refusal"]:
        raise PartyLost(f"the dealer says that {verdict['refusal']}")
    return link


class _HostParty(PartyWorker):
    """A party that needs no controller: rank 1 tells rank 0 the public inputs."""

    def run_once(
        self, program: str, folder: Path, inputs: dict[str, Tensor], stage: Stage
    ) -> tuple[list[Tensor], CallReport]:
        """Load, prepare and run."""
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        description = ProgramDescription.from_json(manifest["program"])
        stage("loading the program")
        self.load(program, str(folder))
        with _as_lost("the dealer ended in the middle of the run"):
            stage("preparing randomness")
            offline, _none = self.prepare(program, CALL)
        stage("running")
        shown = {item.name: self._agree(item, inputs) for item in description.inputs if item.kind == "public"}
        reply, outputs = self.run(program, CALL, {**inputs, **shown})
        report = CallReport(
            online_seconds=float(reply["seconds"]),
            offline_seconds=float(offline["seconds"]),
            traffic=tuple(tuple(row) for row in reply["traffic"]),
            line_seconds=tuple(tuple(row) for row in reply["line_seconds"]),
        )
        return [outputs[str(index)] for index in range(len(outputs))], report

    def _agree(self, item: InputDescription, inputs: Mapping[str, Tensor]) -> Tensor:
        """Send or receive one public input."""
        dtype = dtype_of(item.dtype)
        if self._rank == 1:
            tensor = inputs[item.name].to(dtype).contiguous()
            self._channel.exchange(tensor.view(-1).view(torch.uint8), 0)
            return tensor
        blank = torch.empty(item.shape, dtype=dtype)
        received = self._channel.exchange(torch.empty(0, dtype=torch.uint8), blank.numel() * blank.element_size())
        return received.view(dtype).view(item.shape)

    def leave(self) -> None:
        """Close the line to the other party."""
        self._channel.close()


def _start(work: Callable[[], T]) -> Future[T]:
    """Work in a daemon thread: one that waits for a party notices neither Ctrl-C nor a lost dealer."""
    future: Future[T] = Future()
    threads = torch.get_num_threads()

    def run() -> None:
        # Both are settings of a thread.
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised again by whoever asks for the result
            future.set_exception(error)

    threading.Thread(target=run, name=THREAD_NAME, daemon=True).start()
    return future


def _while_linked(task: Future[T], link: Connection, met: threading.Event, meeting: Meeting, other: str) -> T:
    """Return the result of ``task``; give up when the dealer leaves, or when the parties do not meet."""
    poll = select.poll()
    # Not POLLIN: what comes in is for the task.
    poll.register(link.fileno(), HANG_UP)
    deadline = time.monotonic() + meeting.wait_seconds
    while not task.done():
        if poll.poll(1000 * POLL_SECONDS):
            try:
                return task.result(LAST_WORD_SECONDS)
            except TimeoutError:
                raise PartyLost("the dealer ended in the middle of the run, or lost the other party") from None
        if not met.is_set() and time.monotonic() > deadline:
            raise PartyLost(f"{other} cannot be reached", hint="TCP ports above 1024 must be open between the parties.")
    return task.result()


@contextmanager
def _as_lost(what: str) -> Iterator[None]:
    """Raise PartyLost for a link that broke."""
    try:
        yield
    except (OSError, EOFError) as error:
        raise PartyLost(what) from error


def _digest(folder: Path) -> str:
    """Return what tells one package from another: its manifest has the digest of every other file."""
    return hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
