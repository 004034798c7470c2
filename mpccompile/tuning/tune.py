"""Choose approximations for a model within a budget of accuracy, on a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from mpccompile.data.read import read
from mpccompile.errors import OptionError
from mpccompile.ir.network import Network
from mpccompile.options import EXACT, REPLACED, Options
from mpccompile.tuning.measure import Measure
from mpccompile.tuning.search import Found, Progress, Search
from mpccompile.tuning.sites import moves_of, options_for

if TYPE_CHECKING:
    from rich.table import Table

    from mpccompile.ir.network import Seconds
    from mpccompile.tuning.measure import Loss

BATCH_SIZE = 8


@dataclass(frozen=True)
class Tuned:
    """Which approximations to use, and what was tried.

    Attributes:
        options: Fields of :class:`Options`: ``mpccompile.compile(model, **tuned.options)``.
        network: What the seconds are for.
        budget: Most accuracy that was to be lost.
        examples: How many the losses were measured on.
        batch_size: Examples in the call that the seconds are for.
        found: What the search did.
    """

    options: dict[str, dict[str, str]]
    network: Network
    budget: float
    examples: int
    batch_size: int
    found: Found

    @property
    def loss(self) -> Loss:
        """What the chosen approximations lose, against the exact model: simulated, or in float32 if nothing was."""
        return self.found.loss if self.found.simulated is None else self.found.simulated

    @property
    def seconds(self) -> tuple[Seconds, Seconds]:
        """The estimate of a call (before, after), offline phase included."""
        return self.found.exact, self.found.tuned

    def table(self) -> Table:
        """Return what was tried as a table."""
        from mpccompile.tuning.table import table

        return table(self)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return asdict(self)


def tune(  # noqa: PLR0913 - each is a choice of the user's
    model: nn.Module,
    data: Any,
    *,
    budget: float,
    network: str | Network = "lan",
    candidates: Mapping[str, Sequence[str]] | None = None,
    batch_size: int = BATCH_SIZE,
    options: Options | None = None,
    simulate: bool = True,
    progress: Progress | None = None,
) -> Tuned:
    """Find the approximations that make private calls fastest while the accuracy lost stays within a budget.

    Nothing is run privately. Choices are ranked by what they lose in float32 on the data, and what is to be taken is
    confirmed by a simulation of the compiled program on all of it, which rounds as private runs do. Seconds are
    estimated from the plan that each variant compiles to. The choice is fitted to this data; hold out other data to
    judge it by.

    Args:
        model: The model; it is not changed.
        data: What :func:`mpccompile.data.read.read` takes. Without labels the loss is the share of answers that change.
        budget: Most accuracy that may be lost, 0.01 for one point of a hundred.
        network: ``"lan"``, ``"wan"``, ``"loopback"``, or a network of your own.
        candidates: Names of approximations to try, by function; by default all.
        batch_size: Examples in the call to make fast.
        options: What to compile for; approximations in it are not allowed.
        simulate: Whether to confirm by simulations. Each costs a compilation, a copy of the weights on disk while it
            runs, and about 20 times what float32 takes (of a BERT of 4 layers and 256 numbers a token, 1.3 s for 32
            texts, and 0.8 s to compile); there is one for the exact model, and one for each choice that the budget
            admits in float32.
        progress: Told what is done, how much is done, and how much there is at least.

    Raises:
        OptionError: If the budget, the network or a candidate means nothing.
        InputError: If the data does not fit, or the model is no classifier.
    """
    base = options or Options()
    _check(base, budget)
    table = read(data)
    measure = Measure(model, table, batch_size, base, Network.named(network))
    chosen = None if candidates is None else {function: tuple(names) for function, names in candidates.items()}
    search = Search(measure, budget, 1 / len(table), progress or (lambda _what, _done, _total: None), simulate=simulate)
    found = search.run(moves_of(measure.sites, chosen))
    return Tuned(options_for(found.moves), Network.named(network), budget, len(table), batch_size, found)


def _check(options: Options, budget: float) -> None:
    if not 0 <= budget <= 1:
        raise OptionError(f"budget={budget} is no share of the examples", hint="Use 0.01 for one point of accuracy.")
    if options.target != "mpccompile":
        raise OptionError("only target='mpccompile' can be tuned", where="option target")
    for function in REPLACED:
        if any(name != EXACT for _pattern, name in options.chosen(function)):
            raise OptionError(f"{function} is approximated already", where=f"option {function}", hint="Leave it out.")
