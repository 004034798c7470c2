"""The line between the parties, over sockets of this machine."""

from __future__ import annotations

import socket
import threading
import time

import pytest
import torch

from mpccompile.errors import PartyLost
from mpccompile.runtime import channel
from mpccompile.runtime.channel import GREETING_BYTES, SocketChannel, meet

TOKEN = bytes(range(GREETING_BYTES))
PATIENCE_SECONDS = 20.0


def free_tcp():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"tcp://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(params=["unix", "tcp"])
def rendezvous(request, tmp_path):
    return f"unix://{tmp_path}/line" if request.param == "unix" else free_tcp()


@pytest.fixture
def line(rendezvous):
    """Both ends of a line."""
    lines = {}
    waiting = threading.Thread(target=lambda: lines.update({0: meet(0, rendezvous, TOKEN, PATIENCE_SECONDS)}))
    waiting.start()
    lines[1] = meet(1, rendezvous, TOKEN, PATIENCE_SECONDS)
    waiting.join()
    ends = {rank: SocketChannel(line, 0.5) for rank, line in lines.items()}
    yield ends
    for end in ends.values():
        end.close()


def exchange(ends, messages):
    """Exchange two messages in two threads and return what each got."""
    got = {}

    def one(rank):
        got[rank] = ends[rank].exchange(messages[rank], messages[1 - rank].numel())

    threads = [threading.Thread(target=one, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got


@pytest.mark.parametrize("sizes", [(0, 0), (1, 0), (0, 5), (3, 3), (70_000, 1), (9_000_001, 8_000_003)])
def test_messages_of_any_size_arrive_whole_both_ways_at_once(line, sizes):
    for _ in range(2):
        messages = {rank: torch.randint(0, 256, (size,), dtype=torch.uint8) for rank, size in enumerate(sizes)}
        got = exchange(line, messages)
        assert torch.equal(got[0], messages[1])
        assert torch.equal(got[1], messages[0])


def test_a_party_that_ends_or_says_nothing_is_lost(line):
    with pytest.raises(PartyLost):
        line[1].exchange(torch.zeros(1, dtype=torch.uint8), 1)
    line[0].close()
    with pytest.raises(PartyLost):
        line[1].exchange(torch.zeros(1 << 24, dtype=torch.uint8), 1)


def test_a_stranger_is_turned_away_and_the_party_still_taken(rendezvous, monkeypatch):
    monkeypatch.setattr(channel, "GREETING_SECONDS", 0.2)
    found = []
    waiting = threading.Thread(target=lambda: found.append(meet(0, rendezvous, TOKEN, PATIENCE_SECONDS)))
    waiting.start()
    deadline = time.monotonic() + PATIENCE_SECONDS
    strangers = [channel._call(rendezvous, deadline) for _ in range(3)]
    strangers[0].sendall(bytes(GREETING_BYTES))
    strangers[1].close()
    party = meet(1, rendezvous, TOKEN, PATIENCE_SECONDS)
    waiting.join()
    party.sendall(b"hello")
    found[0].settimeout(PATIENCE_SECONDS)
    assert found[0].recv(5) == b"hello"
    assert strangers[0].recv(1) == b""
    for end in (*strangers, party, *found):
        end.close()


def test_a_party_that_does_not_come_is_named(rendezvous):
    with pytest.raises(PartyLost, match="party 1 did not come in time"):
        meet(0, rendezvous, TOKEN, 0.1)


def test_a_party_that_does_not_listen_is_named(tmp_path):
    with pytest.raises(PartyLost, match="party 0 did not come in time"):
        meet(1, f"unix://{tmp_path}/line", TOKEN, 0.1)
    with pytest.raises(PartyLost, match=r"party 0 at .* cannot be reached"):
        meet(1, free_tcp(), TOKEN, 0.1)
