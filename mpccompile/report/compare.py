"""The same model run in several ways, one after the other in turn, and a table of what each took."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any, Protocol

import torch
from rich.table import Table
from torch import Tensor, nn

from mpccompile.capture.from_torch import as_for_inference
from mpccompile.capture.outputs import keep
from mpccompile.errors import InputError

if TYPE_CHECKING:
    from mpccompile.report.profile import Profile


@dataclass(frozen=True)
class Cost:
    """What one way of running a model takes.

    Attributes:
        name: Which way.
        online_seconds: From the input to the output, less what counts as offline.
        offline_seconds: Making correlated randomness.
        bytes_sent: What the party that sends more sends, online.
        offline_bytes: What is sent to make the randomness.
        rounds: Online rounds.
        max_error: Largest difference of an output from plaintext float32.
    """

    name: str
    online_seconds: float
    offline_seconds: float = 0.0
    bytes_sent: float = 0
    offline_bytes: float = 0
    rounds: float = 0
    max_error: float = 0.0

    @property
    def seconds(self) -> float:
        """Online and offline together."""
        return self.online_seconds + self.offline_seconds


class Runnable(Protocol):
    """A private model, as far as a comparison needs one."""

    def __call__(self, **inputs: Any) -> Any:
        """Run, and return what the model would return."""
        ...

    def last_profile(self) -> Profile:
        """Return what that took."""
        ...


def in_turn(
    model: nn.Module, inputs: Mapping[str, Any], ways: Mapping[str, Runnable | None], repeat: int
) -> tuple[Cost, ...]:
    """Run ``model`` in each way in turn and return what each takes; None stands for plaintext torch.

    Every way runs once beforehand, uncounted: it may have to be compiled, or to start processes.
    """
    reference = _reference(model, inputs)
    runs: dict[str, Callable[[], Cost]] = {
        name: partial(plaintext, model, inputs) if way is None else _timed(name, way, inputs, reference)
        for name, way in ways.items()
    }
    for run in runs.values():
        run()
    return interleaved(runs, repeat)


def _reference(model: nn.Module, inputs: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """Run the model itself.

    Raises:
        InputError: If it does not take these inputs.
    """
    try:
        with as_for_inference(model):
            return keep(model(**inputs)).tensors
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"the model fails on these inputs with {type(error).__name__}: {first}",
            hint="Compare with the model that was compiled.",
        ) from error


def _timed(name: str, way: Runnable, inputs: Mapping[str, Any], reference: Sequence[Tensor]) -> Callable[[], Cost]:
    def run() -> Cost:
        answer = way(**inputs)
        error = largest_difference(keep(answer).tensors, reference)
        return way.last_profile().cost(name, error)

    return run


def interleaved(runs: Mapping[str, Callable[[], Cost]], repeat: int) -> tuple[Cost, ...]:
    """Run each in turn, ``repeat`` times over, and return the medians.

    A machine that slows down or is shared then slows all of them down, and not the one whose turn it was.
    """
    seen: dict[str, list[Cost]] = {name: [] for name in runs}
    for _ in range(repeat):
        for name, run in runs.items():
            seen[name].append(run())
    return tuple(middle(name, costs) for name, costs in seen.items())


def middle(name: str, costs: Sequence[Cost]) -> Cost:
    """Return the median of every number."""
    rows = [astuple(cost)[1:] for cost in costs]
    return Cost(name, *(median(column) for column in zip(*rows, strict=True)))


def largest_difference(outputs: Sequence[Tensor], reference: Sequence[Tensor]) -> float:
    """Return the largest absolute difference of any element.

    Raises:
        InputError: If they are not of the same shapes.
    """
    if [one.shape for one in outputs] != [other.shape for other in reference]:
        raise InputError(
            f"the answers have shapes {[list(one.shape) for one in outputs]}, the model's"
            f" {[list(other.shape) for other in reference]}",
            hint="Compare with the model that was compiled.",
        )
    return max(float((one - other).abs().max()) for one, other in zip(outputs, reference, strict=True))


def plaintext(model: nn.Module, inputs: Mapping[str, Any], threads: int = 1) -> Cost:
    """Time the model itself with as many threads as a party has."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with as_for_inference(model):
            started = time.perf_counter()
            model(**inputs)
            return Cost("plaintext", time.perf_counter() - started)
    finally:
        torch.set_num_threads(before)


def table(costs: Sequence[Cost]) -> Table:
    """Return a table of costs; ratios are of the first to each other one, in seconds online and offline together."""
    result = Table(title="The same model, run in turn")
    result.add_column("way")
    for name in ("online", "offline", "a party sends", "rounds", "largest error", f"time of {costs[0].name}"):
        result.add_column(name, justify="right")
    for cost in costs:
        ratio = "" if cost is costs[0] else f"{costs[0].seconds / cost.seconds:.3g} x"
        result.add_row(
            cost.name,
            f"{cost.online_seconds:.3f} s",
            f"{cost.offline_seconds:.3f} s",
            f"{cost.bytes_sent / 1e6:.3f} MB",
            f"{cost.rounds:.0f}",
            f"{cost.max_error:.2g}",
            ratio,
        )
    if any(cost.name == "crypten" for cost in costs):
        result.caption = "crypten: as it runs by default, rank 0 making the triples (its offline), GELU by tanh."
    return result
