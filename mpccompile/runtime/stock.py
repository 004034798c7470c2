"""The processes of a stock CrypTen run: two parties, and CrypTen's trusted third party when triples come from one.

Nothing here computes. CrypTen runs at its default settings; what is added is a clock and a reading of its counters,
with what its triple provider spends kept apart, so that its cost can be compared with an online and an offline phase.
"""

from __future__ import annotations

import ast
import functools
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor

from mpccompile.runtime.crypten_bridge import crypten
from mpccompile.runtime.program import OUTPUT_LINE, InputDescription, ProgramDescription, dtype_of

Provider = Literal["TTP", "TFP"]
"""CrypTen's names of where triples come from: a third process, or rank 0 itself (its default)."""
Reply = tuple[dict[str, Any], dict[str, Tensor]]

PARTIES = 2
PROVIDED = ("generate_additive_triple", "square", "generate_binary_triple", "wrap_rng", "B2A_rng")


@dataclass(frozen=True)
class Spent:
    """What was spent up to some moment: seconds, bytes sent and received, rounds."""

    seconds: float = 0.0
    size: float = 0.0
    rounds: int = 0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.seconds + other.seconds, self.size + other.size, self.rounds + other.rounds)

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.seconds - other.seconds, self.size - other.size, self.rounds - other.rounds)


class Meter:
    """Charges what CrypTen counts to the lines of the program, and what its provider spends to the provider."""

    def __init__(self) -> None:
        self._line = OUTPUT_LINE
        self._since = Spent()
        self.provided = Spent()
        self.lines: dict[int, Spent] = {}
        self.offline_lines: dict[int, float] = {}

    def watch(self, provider: Any) -> None:
        """Time every request to the triple provider from now on."""
        for name in PROVIDED:
            setattr(provider, name, self._timed(getattr(provider, name)))

    def _timed(self, request: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(request)
        def timed(*args: Any, **kwargs: Any) -> Any:
            before = _counters()
            result = request(*args, **kwargs)
            spent = _counters() - before
            self.provided += spent
            self.offline_lines[self._line] = self.offline_lines.get(self._line, 0.0) + spent.seconds
            return result

        return timed

    def begin(self) -> None:
        """Start a call."""
        self.provided = Spent()
        self.lines = {}
        self.offline_lines = {}
        self._line, self._since = OUTPUT_LINE, _counters()

    def mark(self, line: int) -> None:
        """Charge what was spent since the last mark to its line, and start on the next."""
        now = _counters() - self.provided
        self.lines[self._line] = self.lines.get(self._line, Spent()) + now - self._since
        self._line, self._since = line, now


def _counters() -> Spent:
    counted = crypten.comm.get().get_communication_stats()
    return Spent(time.perf_counter(), counted["bytes"], counted["rounds"])


def set_up(rank: int, provider: Provider, rendezvous: str, frac_bits: int = 16) -> None:
    """Initialise CrypTen in this process; ``rank`` is 2 for the third party, which then never returns."""
    places = {"RANK": rank, "WORLD_SIZE": PARTIES, "RENDEZVOUS": rendezvous, "DISTRIBUTED_BACKEND": "gloo"}
    os.environ.update({name: str(value) for name, value in places.items()})
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    # CrypTen draws triples and their seeds from torch's global generator, which starts every process alike.
    torch.seed()
    crypten.cfg.mpc.provider = provider
    crypten.cfg.communicator.verbose = True
    crypten.cfg.encoder.precision_bits = frac_bits
    if rank == PARTIES:
        crypten.mpc.provider.TTPServer()
    else:
        crypten.init()


def load_marked(source: Path, class_name: str, mark: Callable[[int], None]) -> Any:
    """Load a class from ``model.py`` so that its forward calls ``mark`` with each line it comes to."""
    tree = ast.parse(source.read_text(encoding="utf-8"), str(source))
    forward = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "forward")
    marked: list[ast.stmt] = []
    for statement in forward.body:
        call = ast.Call(ast.Name("_mark", ast.Load()), [ast.Constant(statement.lineno)], [])
        marked += [ast.copy_location(ast.Expr(call), statement), statement]
    forward.body = marked
    names: dict[str, Any] = {"__name__": source.stem, "_mark": mark}
    exec(compile(ast.fix_missing_locations(tree), str(source), "exec"), names)
    return names[class_name]


class StockDealer:
    """Answers the controller of the third party's process; the server itself runs in a thread."""

    def start(self, rendezvous: str, **_: Any) -> Reply:
        """Start CrypTen's server."""
        threading.Thread(target=set_up, args=(PARTIES, "TTP", rendezvous), daemon=True).start()
        return {}, {}

    def load(self, **_: Any) -> Reply:
        """Do nothing: the server is asked for triples by shape."""
        return {}, {}

    def prepare(self, **_: Any) -> Reply:
        """Do nothing: CrypTen makes triples while it computes."""
        return {"seconds": 0.0}, {}


class StockParty:
    """Answers the controller of a party that runs stock CrypTen."""

    def __init__(self, rank: int, provider: Provider) -> None:
        self._rank = rank
        self._provider = provider
        self._meter = Meter()
        self._programs: dict[str, tuple[Any, ProgramDescription]] = {}

    def start(self, rendezvous: str, **_: Any) -> Reply:
        """Meet the other party, and the third one."""
        set_up(self._rank, self._provider, rendezvous)
        crypten.set_grad_enabled(False)
        self._meter.watch(crypten.mpc.get_default_provider())
        return {}, {}

    def load(self, program: str, folder: str, **_: Any) -> Reply:
        """Import a package's code and share rank 0's weights."""
        path = Path(folder)
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        description = ProgramDescription.from_json(manifest["program"])
        crypten.cfg.encoder.precision_bits = description.frac_bits
        weights: dict[str, Any] = dict(load_file(path / "constants.safetensors"))
        secret = load_file(path / "weights.safetensors") if self._rank == 0 else {}
        for weight in description.weights:
            if weight.frac_bits is not None:
                weights[weight.name] = _shared(secret.pop(weight.name, None), weight.shape, source=0)
        model = load_marked(path / "model.py", description.class_name, self._meter.mark)(weights)
        self._programs[program] = (model, description)
        return {}, {}

    def prepare(self, **_: Any) -> Reply:
        """Do nothing: CrypTen makes triples while it computes."""
        return {"seconds": 0.0}, {}

    def run(self, program: str, tensors: dict[str, Tensor], **_: Any) -> Reply:
        """Run one call; rank 1 gets the inputs and returns the outputs."""
        model, description = self._programs[program]
        inputs = [self._input(item, model.ONE_HOT, tensors) for item in description.inputs]
        crypten.comm.get().barrier()
        self._meter.begin()
        result = model(*inputs)
        self._meter.mark(OUTPUT_LINE)
        shared = result if isinstance(result, tuple) else (result,)
        outputs = [output.get_plain_text(dst=1) for output in shared]
        self._meter.mark(OUTPUT_LINE)
        plain = {str(index): output for index, output in enumerate(outputs) if output is not None}
        return self._report(), plain

    def _input(self, item: InputDescription, one_hot: dict[str, int], tensors: dict[str, Tensor]) -> Any:
        if item.kind == "public":
            return tensors[item.name].to(dtype_of(item.dtype))
        given = tensors.get(item.name)
        if item.name not in one_hot:
            return _shared(given, item.shape, source=1)
        rows = one_hot[item.name]
        hot = None if given is None else torch.nn.functional.one_hot(given.long(), rows).float()
        return _shared(hot, (*item.shape, rows), source=1)

    def _report(self) -> dict[str, Any]:
        # CrypTen counts what a party sends and what it receives, which are the same: half of it went each way.
        lines = sorted(self._meter.lines.items())
        total = sum((spent for _line, spent in lines), Spent())
        traffic = [[line, round(spent.size / 2), round(spent.size / 2), spent.rounds] for line, spent in lines]
        provided = self._meter.provided
        # Rank 0 asks for triples and rank 1 waits for it, so only rank 0's clock tells the two apart.
        return {
            "seconds": total.seconds if self._rank == 0 else 0.0,
            "traffic": traffic,
            "line_seconds": [[line, spent.seconds] for line, spent in lines if line != OUTPUT_LINE],
            "offline_lines": sorted(self._meter.offline_lines.items()),
            "offline_seconds": provided.seconds,
            "offline_bytes": round(provided.size),
        }


def _shared(value: Tensor | None, shape: tuple[int, ...], source: int) -> Any:
    """Share a tensor of the source's; the other party gives a tensor of its shape, which CrypTen reads no more of."""
    return crypten.cryptensor(torch.zeros(shape) if value is None else value.float(), src=source)
