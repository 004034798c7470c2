"""The process of one party or of the dealer, driven by messages from its controller."""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import secrets
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from mpccompile.errors import MpcCompileError
from mpccompile.runtime import messages, offline, ring, stock
from mpccompile.runtime.agreement import expect_same, fingerprint
from mpccompile.runtime.channel import GREETING_BYTES, SocketChannel, meet
from mpccompile.runtime.crypten_bridge import to_crypten
from mpccompile.runtime.party import LiveParty, Pool, activate, drive
from mpccompile.runtime.prg import Prg
from mpccompile.runtime.products import prepared
from mpccompile.runtime.program import ProgramDescription, check_limit, deliver, execute, load_class
from mpccompile.runtime.resident import Residents, held_rows
from mpccompile.runtime.row_masks import RowMasks
from mpccompile.runtime.shared import ClientValue, Shared, StaticWeight
from mpccompile.runtime.timeline import CALL, Timeline
from mpccompile.runtime.twins import read_plan, static_shapes, static_uses

if TYPE_CHECKING:
    from mpccompile.runtime.plan import Plan

SEED_BYTES = 32
WORD_BYTES = 8
EXCHANGE_TIMEOUT_SECONDS = 600.0
FINAL = ("PartyLost", "MpcCompileError")
"""Errors a worker does not survive; by its base class it reports what it did not foresee."""
Reply = tuple[dict[str, Any], dict[str, Tensor]]


class DealerWorker:
    """Answers the controller of the dealer's process.

    Args:
        accept: Waits for the next party and returns the link to it; called once for each.
    """

    def __init__(self, accept: Callable[[], Connection]) -> None:
        self._accept = accept
        self._seeds = (secrets.token_bytes(SEED_BYTES), secrets.token_bytes(SEED_BYTES))
        # Kept for as long as the process lives: a program or a call that came twice would use its randomness twice.
        self._roots = tuple(Prg(seed) for seed in self._seeds)
        self._links: dict[int, Connection] = {}
        self._programs: dict[str, tuple[offline.Dealer, Plan]] = {}
        self._text = 0
        self._row_masks: list[RowMasks] = []

    def start(self, device: str, **_: Any) -> Reply:
        """Wait for both parties and give each its seed, and both the coins' seed."""
        self._device = torch.device(device)
        coins = secrets.token_hex(SEED_BYTES)
        for _party in range(2):
            link = self._accept()
            header, _tensors = messages.receive(link)
            rank = int(header["rank"])
            self._links[rank] = link
            messages.send(link, {"seed": self._seeds[rank].hex(), "coins": coins})
        return {}, {}

    def load(self, program: str, folder: str, twins: Mapping[str, str] = MappingProxyType({}), **_: Any) -> Reply:
        """Read a package's plan; the weights file is never opened here.

        Args:
            program: Name of the program.
            folder: Its package.
            twins: The program that was loaded before with the same weight, by the weight's name.
        """
        manifest = json.loads((Path(folder) / "manifest.json").read_text(encoding="utf-8"))
        description = ProgramDescription.from_json(manifest["program"])
        plan = read_plan(Path(folder))
        seeds = tuple(root.spawn(f"program {program}").bytes(SEED_BYTES) for root in self._roots)
        others = {name: self._programs[other][0] for name, other in twins.items()}
        dealer = offline.Dealer((seeds[0], seeds[1]), static_shapes(plan, description), self._device, others)
        self._programs[program] = (dealer, plan)
        return {}, {}

    def prepare(self, program: str, call: int, text: int = 0, first_row: int = 0, **_: Any) -> Reply:
        """Deal one call, of the text that the rows that stay belong to."""
        started = time.perf_counter()
        dealer, plan = self._programs[program]
        if text != self._text:
            self._text, self._row_masks = text, [RowMasks(root.spawn(f"text {text}")) for root in self._roots]
        rows = [offline.TextRows(masks, first_row) for masks in self._row_masks]
        dealer.deal(plan, call, lambda packed: messages.send_words(self._links[1], packed), rows)
        return {"seconds": time.perf_counter() - started, "began": started}, {}


class _Loaded:
    def __init__(self, seed: bytes, model: Any, description: ProgramDescription, plan: Plan) -> None:
        self.calls = Prg(seed)
        self.model = model
        self.description = description
        self.plan = plan
        self.online_weights: dict[str, StaticWeight] = {}
        self.offline_weights: dict[str, StaticWeight] = {}
        self.pools: dict[int, Pool] = {}


class PartyWorker:
    """Answers the controller of a party's process.

    Args:
        rank: 0 owns the weights, 1 the inputs.
        dealer: The link to the dealer.
    """

    def __init__(self, rank: int, dealer: Connection) -> None:
        self._rank = rank
        self._dealer = dealer
        self._programs: dict[str, _Loaded] = {}
        self._text = 0
        self._row_masks: RowMasks | None = None

    def start(self, device: str, rendezvous: str, **_: Any) -> Reply:
        """Meet the dealer and the other party."""
        self._device = torch.device(device)
        self._residents = Residents(self._device)
        messages.send(self._dealer, {"rank": self._rank})
        header, _tensors = messages.receive(self._dealer)
        self._root = Prg(bytes.fromhex(header["seed"]))
        self._coins = Prg(bytes.fromhex(header["coins"]))
        token = self._coins.spawn("greeting").bytes(GREETING_BYTES)
        line = meet(self._rank, rendezvous, token, EXCHANGE_TIMEOUT_SECONDS)
        self._channel = SocketChannel(line, EXCHANGE_TIMEOUT_SECONDS)
        self._pair = Prg(self._agree_on_seed())
        self._expect_same_rounding()
        return {}, {}

    def _agree_on_seed(self) -> bytes:
        """Rank 1 picks the seed that expands to rank 0's shares of its inputs, and sends it."""
        seed = secrets.token_bytes(SEED_BYTES)
        sent = torch.frombuffer(bytearray(seed), dtype=torch.uint8)
        if self._rank == 1:
            self._channel.exchange(sent, 0)
            return seed
        return bytes(self._channel.exchange(torch.empty(0, dtype=torch.uint8), SEED_BYTES).numpy().tobytes())

    def _expect_same_rounding(self) -> None:
        mine = fingerprint(self._device)
        sent = torch.frombuffer(bytearray(mine), dtype=torch.uint8)
        expect_same(mine, self._channel.exchange(sent, len(mine)).numpy().tobytes())

    def load(self, program: str, folder: str, twins: Mapping[str, str] = MappingProxyType({}), **_: Any) -> Reply:
        """Import a package's code; rank 0 reads and encodes the weights, rank 1 learns the masked differences.

        Args:
            program: Name of the program.
            folder: Its package.
            twins: The program that was loaded before with the same weight, by the weight's name.
        """
        path = Path(folder)
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        description = ProgramDescription.from_json(manifest["program"])
        plan = read_plan(path)
        seed = self._root.spawn(f"program {program}").bytes(SEED_BYTES)
        constants = load_file(path / "constants.safetensors")
        weights: dict[str, Any] = {name: tensor.to(self._device) for name, tensor in constants.items()}
        secret = load_file(path / "weights.safetensors") if self._rank == 0 else {}
        masked = static_shapes(plan, description)
        held: dict[str, StaticWeight] = {}
        differences: dict[str, StaticWeight] = {}
        for weight in description.weights:
            if weight.frac_bits is None:
                continue
            if weight.name in twins:
                twin = self._programs[twins[weight.name]]
                held[weight.name] = twin.online_weights[weight.name]
                differences[weight.name] = twin.offline_weights[weight.name]
                continue
            online = self._own(weight.name, weight.shape, weight.frac_bits, secret)
            if weight.name in masked:
                uses = static_uses(plan, weight.name)
                differences[weight.name] = self._difference(online, seed, uses)
                if weight.factor and self._rank == 0:
                    online = differences[weight.name] = prepared(online, uses)
            held[weight.name] = online
        weights |= held
        loaded = _Loaded(seed, load_class(path / "model.py", description.class_name)(weights), description, plan)
        loaded.online_weights, loaded.offline_weights = held, differences
        self._programs[program] = loaded
        opened = sum(math.prod(shape) for name, shape in masked.items() if name not in twins)
        return {"load_bytes": WORD_BYTES * opened}, {}

    def _own(self, name: str, shape: tuple[int, ...], frac_bits: int, secret: dict[str, Tensor]) -> StaticWeight:
        if self._rank == 0:
            return StaticWeight(name, ring.encode(secret.pop(name), frac_bits).to(self._device), frac_bits)
        zeros = torch.zeros((), dtype=torch.int64, device=self._device).expand(shape)
        return StaticWeight(name, zeros, frac_bits)

    def _difference(self, weight: StaticWeight, seed: bytes, uses: set[tuple[str, int]]) -> StaticWeight:
        """Send (rank 0) or receive (rank 1) W - B, once for as long as the weight is loaded."""
        if self._rank == 0:
            mask = offline.weight_mask(seed, weight.name, weight.shape).to(self._device)
            self._channel.exchange(ring.pack(weight.plain - mask, 64), 0)
            return weight
        size = 8 * weight.plain.numel()
        reply = self._channel.exchange(torch.empty(0, dtype=torch.uint8), size)
        difference = ring.unpack(reply, 64, weight.shape).to(self._device)
        return prepared(StaticWeight(weight.name, difference, weight.frac_bits), uses)

    def prepare(self, program: str, call: int, text: int = 0, first_row: int = 0, **_: Any) -> Reply:
        """Fill the pool of one call, of the text that the rows that stay belong to."""
        started = time.perf_counter()
        loaded = self._programs[program]
        if text != self._text:
            self._text, self._row_masks = text, RowMasks(self._root.spawn(f"text {text}"))
        loaded.pools[call] = offline.prepare_pool(
            loaded.plan,
            loaded.calls.spawn(f"call {call}"),
            self._rank,
            loaded.offline_weights,
            lambda size: messages.receive_words(self._dealer, size),
            self._device,
            None if self._row_masks is None else offline.TextRows(self._row_masks, first_row),
        )
        return {"seconds": time.perf_counter() - started, "began": started}, {}

    def run(
        self,
        program: str,
        call: int,
        tensors: dict[str, Tensor],
        first_row: int | None = None,
        *,
        record: bool = False,
        **_: Any,
    ) -> Reply:
        """Run one call; rank 1 gets the inputs and returns the outputs, but for those that stay here.

        Args:
            program: Name of the program.
            call: Number of the call.
            tensors: Inputs that the controller may give this party.
            first_row: Where the rows of outputs that stay are put, as when the call was prepared; at 0 a text begins;
                None where nothing stays.
            record: Whether to tell when each thing began and ended.
        """
        loaded = self._programs[program]
        coin_seed = self._coins.spawn(f"call {program} {call}").bytes(SEED_BYTES)
        bits, truncation = loaded.description.frac_bits, loaded.description.truncation
        party = LiveParty(self._rank, self._device, bits, self._channel, coin_seed, truncation)
        party.begin(loaded.pools.pop(call))
        party.timeline = Timeline(self._device) if record else None
        if first_row == 0:
            self._residents.begin()
        activate(party)
        try:
            inputs = self._inputs(loaded, program, call, tensors)
            started = time.perf_counter()
            outputs = drive(execute(loaded.model, inputs))
            party.ledger.line = 0
            delivered = drive(deliver(outputs, loaded.description))
        finally:
            activate(None)
        for name, rows in delivered.resident.items():
            self._residents.put(name, rows, first_row or 0)
        seconds = time.perf_counter() - started
        if party.timeline is not None:
            party.timeline.note(CALL, party.ledger.line, started, started + seconds)
        traffic = [[row.line, *row.bytes_sent, row.rounds] for row in party.ledger.traffic()]
        report = {"seconds": seconds, "traffic": traffic, "line_seconds": sorted(party.seconds.items())}
        report["spans"] = [] if party.timeline is None else party.timeline.rows
        if self._rank == 0:
            return report, {}
        plain = {str(index): ring.decode(value, frac_bits) for index, (value, frac_bits) in enumerate(delivered.opened)}
        return report, plain

    def _inputs(self, loaded: _Loaded, program: str, call: int, tensors: dict[str, Tensor]) -> list[Any]:
        inputs: list[Any] = []
        stream = self._pair.spawn(f"inputs {program} {call}")
        bits = loaded.description.frac_bits
        for item in loaded.description.inputs:
            if item.kind == "public":
                inputs.append(tensors[item.name].to(self._device))
            elif item.kind == "client":
                plain = tensors[item.name] if self._rank == 1 else torch.zeros(item.shape, dtype=torch.int64)
                inputs.append(ClientValue(plain.to(self._device, torch.int64)))
            elif item.kind == "resident":
                inputs.append(held_rows(item.name, self._residents.get(item.name, item.shape), bits))
            else:
                share = stream.words(item.shape)
                if self._rank == 1:
                    check_limit(item.name, tensors[item.name], item.limit)
                    share = ring.encode(tensors[item.name], bits) - share
                inputs.append(to_crypten(Shared(share.to(self._device), bits)))
        return inputs


def serve(worker: Any, control: Connection) -> None:
    """Answer the controller until it goes away, or until an error leaves this worker in an unknown state."""
    while True:
        try:
            header, tensors = messages.receive(control)
        except (EOFError, OSError):
            return
        command = header.pop("command")
        try:
            answer: Callable[..., Reply] = getattr(worker, command)
            reply, result = answer(**header, tensors=tensors)
            reply["ok"] = True
            reply["peak_bytes"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        except Exception as error:  # noqa: BLE001 - whatever it is, the controller has to hear of it
            reply, result = _failure(error), {}
        try:
            messages.send(control, reply, result)
        except OSError:
            return
        if not reply["ok"] and reply["error"] in FINAL:
            return


def _failure(error: Exception) -> dict[str, Any]:
    if isinstance(error, MpcCompileError):
        detail = {"what": error.what, "where": error.where, "hint": error.hint}
        return {"ok": False, "error": type(error).__name__, **detail}
    lost = isinstance(error, EOFError | ConnectionError)
    what = f"{type(error).__name__}: {error}"
    trace = "".join(traceback.format_exception(error))
    return {"ok": False, "error": "PartyLost" if lost else "MpcCompileError", "what": what, "trace": trace}


def _end_with(parent: int) -> None:
    """End this process when its parent is gone, even in the middle of a computation."""
    while True:
        time.sleep(1)
        if os.getppid() != parent:
            os._exit(1)


def main() -> None:
    """Run as ``python -m mpccompile.runtime.worker``; the key comes on standard input, so that no listing shows it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--role", choices=["0", "1", "dealer"], required=True)
    parser.add_argument("--control", required=True)
    parser.add_argument("--dealer", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--stock", choices=["TTP", "TFP"])
    arguments = parser.parse_args()
    key = bytes.fromhex(sys.stdin.readline().strip())
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    torch.set_num_threads(arguments.threads)
    torch.set_grad_enabled(False)
    control = Client(arguments.control, authkey=key)
    serve(_worker(arguments, control, key), control)
    control.close()
    os._exit(0)


def _worker(arguments: argparse.Namespace, control: Connection, key: bytes) -> Any:
    """Make the worker of this process; the dealer says hello when it listens, and the parties call it after that."""
    hello = {"role": arguments.role}
    if arguments.role == "dealer":
        worker: Any = stock.StockDealer() if arguments.stock else DealerWorker(_listening(arguments.dealer, key))
        messages.send(control, hello)
        return worker
    messages.send(control, hello)
    messages.receive(control)
    rank = int(arguments.role)
    if arguments.stock:
        return stock.StockParty(rank, arguments.stock)
    return PartyWorker(rank, Client(arguments.dealer, authkey=key))


def _listening(address: str, key: bytes) -> Callable[[], Connection]:
    return Listener(address, backlog=2, authkey=key).accept


if __name__ == "__main__":
    main()
