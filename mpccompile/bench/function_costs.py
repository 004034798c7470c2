"""One function of a Transformer by itself, at the shape that it has in a model, here and by stock CrypTen.

Alone, a function opens its own argument and gives each of its results away. In a model it is cheaper: the truncation
before it opens the argument too, and a softmax is divided after it has weighed the values.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

import mpccompile
from mpccompile.approximations.gelu_quad import COEFFICIENTS
from mpccompile.bench.parts import Pair
from mpccompile.bench.race import OURS, SEED, STOCK, Say
from mpccompile.ir import ops
from mpccompile.report.compare import Cost, interleaved
from mpccompile.report.profile import OUTPUT_OP

if TYPE_CHECKING:
    from mpccompile.private import PrivateModel
    from mpccompile.report.profile import Profile

MOST_ELEMENTS = 1 << 20
"""Of a larger argument a part is run, and what it takes is scaled: a party stays below 4 GB."""
REACH = 3.0
"""Arguments are normal and cut off here, as the approximations take them to be: 2Quad grows again below -5."""


@dataclass(frozen=True)
class Function:
    """A function, as a module and as options.

    Attributes:
        name: What a table calls it.
        module: Makes the module that a model has.
        meaning: What it computes under the options.
        on_scores: Whether it takes attention scores, and not what is between the two linears of a layer.
        options: What to compile for.
    """

    name: str
    module: Callable[[], nn.Module]
    meaning: Callable[[Tensor], Tensor]
    on_scores: bool
    options: Mapping[str, Any] = field(default_factory=dict)


def _quad(x: Tensor) -> Tensor:
    return ops.quadratic(x, *COEFFICIENTS)


_SOFTMAX = partial(nn.Softmax, dim=-1)
FUNCTIONS = (
    Function("GELU", nn.GELU, ops.gelu, on_scores=False),
    Function("Quad", nn.GELU, _quad, on_scores=False, options={"gelu": "quad"}),
    Function("softmax", _SOFTMAX, ops.softmax, on_scores=True),
    Function("2ReLU", _SOFTMAX, partial(ops.softmax, form="2relu"), on_scores=True, options={"softmax": "2relu"}),
    Function("2Quad", _SOFTMAX, partial(ops.softmax, form="2quad"), on_scores=True, options={"softmax": "2quad"}),
)


@dataclass(frozen=True)
class Size:
    """How large a function is in a model.

    Attributes:
        shape: Of its argument; the second dim, of tokens or heads, may be cut.
        layers: How often the model computes it, one after the other.
    """

    shape: tuple[int, ...]
    layers: int

    def share(self, most: int) -> int:
        """Return the fewest equal parts of the second dim of which one has at most so many elements."""
        length, elements = self.shape[1], math.prod(self.shape)
        return next((n for n in range(1, length) if length % n == 0 and elements // n <= most), length)


def measure(function: Function, size: Size, repeat: int, device: str, say: Say, most: int = MOST_ELEMENTS) -> Pair:
    """Run a function in turn here and by stock CrypTen, and return what all layers take.

    Args:
        function: Which one.
        size: Its argument, and how often.
        repeat: Runs of each; medians are kept.
        device: Where our parties compute.
        say: Told of progress.
        most: Elements that are run at once.
    """
    share = size.share(most)
    ran = (size.shape[0], size.shape[1] // share, *size.shape[2:])
    x = torch.randn(ran, generator=torch.Generator().manual_seed(SEED)).clamp(-REACH, REACH)
    ours = mpccompile.compile(function.module(), example_inputs=(x,), device=device, **function.options)
    stock = mpccompile.compile(
        function.module(), example_inputs=(x,), target="crypten", dealer="insecure-local", **function.options
    )
    profiles: dict[str, Profile] = {}
    with ours, stock:
        runs = {
            name: partial(_once, name, way, function, x, profiles, say) for name, way in ((OURS, ours), (STOCK, stock))
        }
        for run_once in runs.values():
            # The first call of each starts processes and allocates.
            run_once()
        mine, theirs = (_grown(cost, share, size.layers) for cost in interleaved(runs, repeat))
    note = "" if share == 1 else f"{function.name}: 1/{share} of its argument"
    return Pair(function.name, mine, theirs, profiles[OURS].peak_bytes, note)


def _once(name: str, way: PrivateModel, function: Function, x: Tensor, profiles: dict[str, Profile], say: Say) -> Cost:
    with warnings.catch_warnings():
        # Told in the output: that is how stock CrypTen runs.
        warnings.filterwarnings("ignore", "dealer='insecure-local'", UserWarning)
        answer = way(x)
    profiles[name] = way.last_profile()
    cost = own_cost(profiles[name], name, float((answer - function.meaning(x)).abs().max()))
    say(f"{function.name}, {name}: {cost.online_seconds:.3f} s online, {cost.offline_seconds:.3f} s offline")
    return cost


def own_cost(profile: Profile, name: str, error: float) -> Cost:
    """Return what the function takes without what gives its result away, which a model does once."""
    rows = [row for row in profile.rows if row.op != OUTPUT_OP]
    return Cost(
        name,
        sum(row.seconds for row in rows),
        profile.offline_seconds,
        max(sum(row.bytes_sent[rank] for row in rows) for rank in (0, 1)),
        profile.offline_bytes,
        sum(row.rounds for row in rows),
        error,
    )


def _grown(cost: Cost, share: int, layers: int) -> Cost:
    """Return the cost of the whole argument, whose parts share their rounds, times the layers."""
    times = share * layers
    return Cost(
        cost.name,
        cost.online_seconds * times,
        cost.offline_seconds * times,
        cost.bytes_sent * times,
        cost.offline_bytes * times,
        cost.rounds * layers,
        cost.max_error,
    )
