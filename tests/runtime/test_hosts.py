"""A run over several machines: the three processes on addresses of this one."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import mpccompile
from mpccompile.errors import InputError, PartyLost
from mpccompile.runtime import addresses, hosts, sealed
from mpccompile.runtime.addresses import Address
from mpccompile.runtime.hosts import Meeting
from tests import models

ROOT = Path(__file__).resolve().parents[2]
LOST_SECONDS = 10
KEY = bytes(range(32))


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """The package as each process has it: the dealer and party 1 without weights."""
    base = tmp_path_factory.mktemp("packages")
    model, inputs = models.bert(padding_mask=True)
    with mpccompile.compile(model, example_inputs=inputs) as private:
        private.save(base / "0")
    (base / "1").mkdir()
    (base / "dealer").mkdir()
    for name in ("manifest.json", "plan.json", "model.py", "constants.safetensors"):
        shutil.copy(base / "0" / name, base / "1")
    for name in ("manifest.json", "plan.json"):
        shutil.copy(base / "0" / name, base / "dealer")
    np.savez(base / "inputs.npz", **{name: tensor.numpy() for name, tensor in inputs.items()})
    with torch.no_grad():
        return base, model(**inputs).logits


def free_address():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return Address("127.0.0.1", server.getsockname()[1])


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "key"
    sealed.make_key(path)
    return path


@pytest.fixture
def processes():
    """Started processes; none is left after the test."""
    started = {}
    yield started
    for process in started.values():
        process.kill()
        process.communicate()


def start(processes, role, *arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    command = [sys.executable, "-m", "mpccompile.cli", "-v", "dealer" if role == "dealer" else "party"]
    command += [] if role == "dealer" else ["--rank", role]
    processes[role] = subprocess.Popen(
        [*command, *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def start_all(processes, base, key_file, output):
    dealer, peer = free_address(), free_address()
    lines = ["--dealer", dealer, "--peer", f"tcp://{peer}", "--key-file", key_file]
    start(processes, "dealer", base / "dealer", "--listen", dealer, "--key-file", key_file)
    start(processes, "0", base / "0", *lines)
    start(processes, "1", base / "1", *lines, "--input", base / "inputs.npz", "--output", output)


def test_three_processes_compute_the_models_answer(packages, key_file, processes, tmp_path):
    base, expected = packages
    start_all(processes, base, key_file, tmp_path / "outputs.npz")
    said = {role: process.communicate(timeout=120) for role, process in processes.items()}
    assert {role: process.returncode for role, process in processes.items()} == dict.fromkeys(said, 0), said
    with np.load(tmp_path / "outputs.npz") as file:
        logits = torch.from_numpy(file["logits"])
    assert (logits - expected).abs().max() < 1e-2
    assert "logits: float32" in said["1"][0]
    assert "logits" not in said["0"][0]
    assert "rounds" in said["0"][0]


@pytest.mark.parametrize("victim", ["0", "1", "dealer"])
def test_a_process_lost_in_mid_run_ends_the_others(victim, packages, key_file, processes, tmp_path):
    base, _expected = packages
    start_all(processes, base, key_file, tmp_path / "outputs.npz")
    # Party 1 stands still from here on, so the run cannot end before the victim is lost.
    assert any("meeting the other party" in line for line in processes["1"].stderr)
    processes["1"].send_signal(signal.SIGSTOP)
    processes[victim].kill()
    survivors = [role for role in ("0", "dealer", "1") if role != victim]
    for role in survivors:
        process = processes[role]
        process.send_signal(signal.SIGCONT)
        _out, said = process.communicate(timeout=LOST_SECONDS)
        assert process.returncode == 1, said
        assert len([line for line in said.splitlines() if line.startswith("error: ")]) == 1, said
        assert "Traceback" not in said
    assert not (tmp_path / "outputs.npz").exists()


def test_a_port_that_is_taken_is_named(packages, processes):
    base, _expected = packages
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        start(processes, "dealer", base / "dealer", "--listen", f"127.0.0.1:{port}")
        _out, said = processes["dealer"].communicate(timeout=60)
        assert processes["dealer"].returncode == 1
        assert said.splitlines()[-1].startswith("INFO") or said.startswith("error: ")
        assert f"error: 127.0.0.1:{port} is in use by another process" in said
        with pytest.raises(PartyLost, match="is in use"):
            hosts.take_part(0, base / "0", Meeting(free_address(), b""), Address("127.0.0.1", port), {})


def test_an_unreachable_dealer_is_named(packages):
    base, _expected = packages
    dealer = free_address()
    with pytest.raises(PartyLost, match=f"the dealer at {dealer} cannot be reached"):
        hosts.take_part(1, base / "1", Meeting(dealer, b"", wait_seconds=0.2), free_address(), {})


def test_a_dealer_that_no_party_calls_gives_up(packages):
    base, _expected = packages
    meeting = Meeting(free_address(), b"", wait_seconds=1)
    knocking = threading.Timer(0.3, lambda: addresses.dial(meeting.dealer, time.monotonic() + 1).close())
    knocking.start()
    with pytest.raises(PartyLost, match="party 0 and party 1 did not come in time"):
        hosts.deal(base / "dealer", meeting)


def in_thread(work):
    """Start ``work`` and return a function that waits for the error it ends with."""
    errors = []

    def run():
        try:
            work()
        except PartyLost as error:
            errors.append(error.what)

    thread = threading.Thread(target=run)
    thread.start()

    def ended():
        thread.join(20)
        return errors[0]

    return ended


def test_another_key_is_refused_on_both_sides(packages):
    base, _expected = packages
    dealer = free_address()
    ended = in_thread(lambda: hosts.deal(base / "dealer", Meeting(dealer, KEY, wait_seconds=10)))
    with pytest.raises(PartyLost, match="the key of this process is not that of the other side"):
        hosts._meet_dealer(0, "any", Meeting(dealer, KEY[::-1], wait_seconds=10))
    assert "the key of this process is not that of the other side" in ended()


def test_another_package_is_refused_and_told_to_both(packages):
    base, _expected = packages
    meeting = Meeting(free_address(), KEY, wait_seconds=10)
    ended = in_thread(lambda: hosts.deal(base / "dealer", meeting))
    with pytest.raises(PartyLost, match="party 1 has another package than the dealer"):
        hosts._meet_dealer(1, "another", meeting)
    assert ended() == "party 1 has another package than the dealer"


def test_two_parties_of_one_rank_are_refused(packages):
    base, _expected = packages
    meeting = Meeting(free_address(), KEY, wait_seconds=10)
    ended = in_thread(lambda: hosts.deal(base / "dealer", meeting))
    digest = hosts._digest(base / "dealer")
    first = in_thread(lambda: hosts._meet_dealer(0, digest, meeting))
    second = in_thread(lambda: hosts._meet_dealer(0, digest, meeting))
    assert {first(), second()} == {"the dealer says that there are two parties 0"}
    assert ended() == "there are two parties 0"


def sealed_pair(keys=(KEY, KEY)):
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        line, _address = server.accept()
    results = [None, None]

    def secure(index, one, client):
        try:
            results[index] = sealed.secure(one, keys[index], client=client)
        except (PartyLost, OSError, EOFError) as error:
            results[index] = error

    other = threading.Thread(target=secure, args=(1, line, False))
    other.start()
    secure(0, client, True)
    other.join()
    return results


def test_a_sealed_line_carries_messages_both_ways(monkeypatch):
    monkeypatch.setattr(sealed, "PIECE_BYTES", 1 << 10)
    one, two = sealed_pair()
    for message in (b"", b"short", os.urandom(5000), bytes(1 << 10)):
        one.send_bytes(message)
        assert two.recv_bytes() == message
        two.send_bytes(message)
        assert one.recv_bytes() == message
    one.close()
    with pytest.raises(EOFError):
        two.recv_bytes()
    two.close()


def test_a_sealed_line_shows_nothing_and_takes_nothing_twice():
    one, two = sealed_pair()
    secret = b"the seed of a party" * 3
    one.send_bytes(secret)
    raw = super(sealed.SealedConnection, two).recv_bytes()
    assert secret not in raw
    assert secret[:8] not in raw
    # The first message, handed in after it has been taken, is not the second.
    two._received = 1
    super(sealed.SealedConnection, one).send_bytes(raw)
    two._received += 1
    with pytest.raises(ConnectionError, match="does not fit the key"):
        two.recv_bytes()
    one.close()
    two.close()


def test_a_line_between_different_keys_is_refused_on_both_sides():
    one, two = sealed_pair((KEY, KEY[::-1]))
    assert isinstance(one, PartyLost)
    assert isinstance(two, PartyLost)


def test_somebody_who_speaks_something_else_is_no_party():
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        line, _address = server.accept()
    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises((OSError, EOFError)):
        sealed.secure(line, KEY, client=False)
    client.close()


def test_a_key_file_is_only_for_its_owner(tmp_path):
    path = tmp_path / "key"
    sealed.make_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(sealed.read_key(path)) == sealed.KEY_BYTES
    with pytest.raises(InputError, match="File exists"):
        sealed.make_key(path)
    path.chmod(0o644)
    with pytest.raises(InputError, match="others can read"):
        sealed.read_key(path)
    path.chmod(0o600)
    path.write_text("nonsense", encoding="utf-8")
    with pytest.raises(InputError, match="not a key file"):
        sealed.read_key(path)
    with pytest.raises(InputError, match="cannot be read"):
        sealed.read_key(tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "loopback"), [("127.0.0.1:80", True), ("localhost:1", True), ("tcp://10.0.0.2:29500", False)]
)
def test_addresses_are_read(text, loopback):
    address = Address.parse(text)
    assert str(address) == text.removeprefix("tcp://")
    assert address.is_loopback() is loopback


@pytest.mark.parametrize("text", ["", "host", "host:", ":80", "host:0", "host:65536", "host:http"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(InputError, match="is not an address"):
        Address.parse(text)


def test_a_name_that_looks_local_is_not():
    assert not Address("127.example.com", 80).is_loopback()
