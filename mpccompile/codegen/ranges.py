"""Calibrate: run the lowered graph in plaintext and note the range every one-variable function has to cover."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, fx

from mpccompile.errors import UnsupportedOp
from mpccompile.ir import ops
from mpccompile.ir.bounds import bounds
from mpccompile.ir.program import Secrecy, origin_of
from mpccompile.runtime.forms import LEAST_TOTAL, QUAD_SHIFT
from mpccompile.runtime.openings import HEADROOM_BITS, RING_BITS
from mpccompile.runtime.quadratics import passing_square
from mpccompile.runtime.row_weights import EXPONENT_SPAN, SoftmaxRange, centre_weights
from mpccompile.runtime.series import passing_range

if TYPE_CHECKING:
    from mpccompile.ir.program import Program
    from mpccompile.options import Options

SMALLEST_RANGE = 0.5
"""Half-width below which a range is not narrowed: constant inputs would give none at all."""
CURVES = (ops.gelu, ops.silu, ops.tanh, ops.sigmoid, ops.exp)


@dataclass(frozen=True)
class Site:
    """The calibrated keyword arguments of one call, as they stand in the generated code."""

    keywords: dict[str, Any]


def calibrate(program: Program, batches: Iterable[Sequence[Tensor]], options: Options) -> dict[str, Site]:
    """Return the calibrated arguments of every call that needs some, by node name.

    Args:
        program: A lowered program.
        batches: Inputs to run, one tensor per program input each; all of the captured shapes.
        options: Whose ``range_margin`` widens what was seen and whose ``tolerance`` is shared out.
    """
    watcher = _Watcher(program.module)
    with torch.no_grad():
        for batch in batches:
            watcher.run(*batch)
    sites = [node for node in program.graph.nodes if node.target in _RANGES]
    # An error of a series swings about zero as its argument moves, so errors of different sites add as the root of the
    # sum of squares, each carried on with a gain near one by residuals and norms.
    tolerance = options.tolerance / math.sqrt(max(1, len(sites)))
    margin = options.range_margin
    keywords = {node.name: _RANGES[node.target](watcher.seen[node.name], margin, tolerance) for node in sites}
    _settle_quadratics(program, keywords, options.frac_bits)
    proven = bounds(program, _tested(program, keywords, options.frac_bits))
    _warn_of_unproven(program, proven, options.frac_bits)
    _note_compared(program, keywords, proven)
    for name, bound in proven.items():
        if bound < WORTHWHILE_BOUND and _takes_bound(program, name):
            keywords.setdefault(name, {})["bound"] = _power_of_two(bound)
            if _is_last(program, name):
                keywords[name]["last"] = True
    return {name: Site(values) for name, values in keywords.items()}


def _note_compared(program: Program, keywords: dict[str, dict[str, Any]], proven: Mapping[str, float]) -> None:
    """Say of what is compared how large it can be, where that is proven: small values are compared in fewer bits."""
    for node in program.graph.nodes:
        if node.target is ops.argmax:
            bound = proven.get(node.all_input_nodes[0].name, math.inf)
            if bound < WORTHWHILE_BOUND:
                keywords[node.name] = {"within": _power_of_two(bound)}


def _power_of_two(bound: float) -> float:
    return float(2 ** math.ceil(math.log2(max(bound, 1.0))))


def _warn_of_unproven(program: Program, proven: Mapping[str, float], frac_bits: int) -> None:
    """Tell of the first value whose truncation is not proven to be right: nothing at run time would see it wrap."""
    limit = 2.0 ** (RING_BITS - HEADROOM_BITS - 2 * frac_bits)
    for node in program.graph.nodes:
        if not proven.get(node.name, 0.0) < limit:
            warnings.warn(
                f"a value at {origin_of(node)} is not proven to stay below {limit:.3g}; one as large would wrap around"
                " unseen. Normalise before it, or compile with fewer frac_bits.",
                stacklevel=2,
            )
            return


BOUNDED = (
    ops.linear,
    ops.matmul,
    ops.mul,
    ops.quadratic,
    ops.layer_norm,
    ops.rms_norm,
    ops.attend,
    ops.embedding,
)
UNTESTED_QUADRATIC = 2.0**10
"""A quadratic proven to stay below this fits, with three bits of coefficients, the 48 bits that a truncation of its
argument leaves; a larger one is tested, which costs dealt words and no message."""
WORTHWHILE_BOUND = 2.0**13
"""A product of two 16-bit fractions below this fits the 48 bits that a truncation leaves."""


VIEWS = (ops.reshape, ops.permute, ops.take, ops.expand)
LOSES_WIRES = (ops.add, ops.sub, ops.concat, ops.mean, ops.sum)


def _is_last(program: Program, name: str) -> bool:
    """Say whether a linear's result is only added to something, or put out, before the next product."""
    node = next(node for node in program.graph.nodes if node.name == name)
    readers, seen = list(node.users), 0
    while seen < len(readers):
        if readers[seen].target in VIEWS:
            readers += list(readers[seen].users)
        seen += 1
    ends = [reader for reader in readers if reader.target not in VIEWS]
    return node.target in (ops.linear, ops.mul) and all(end.op == "output" or end.target in LOSES_WIRES for end in ends)


def _takes_bound(program: Program, name: str) -> bool:
    return any(node.name == name and node.target in BOUNDED for node in program.graph.nodes)


def _settle_quadratics(program: Program, keywords: dict[str, dict[str, Any]], frac_bits: int) -> None:
    """Drop the range of each quadratic whose argument is proven to stay small for every input."""
    quadratics = [node.name for node in program.graph.nodes if node.target is ops.quadratic]
    if not quadratics:
        return
    others = {name: values for name, values in keywords.items() if name not in quadratics}
    proven = bounds(program, _tested(program, others, frac_bits))
    for name in quadratics:
        if proven.get(name, math.inf) < UNTESTED_QUADRATIC:
            del keywords[name]["scope"]


def _tested(program: Program, keywords: dict[str, dict[str, Any]], frac_bits: int) -> dict[str, tuple[float, float]]:
    """Return the range that the test of each function of one variable lets through."""
    passing = {node.name: passing_square if node.target is ops.quadratic else passing_range for node in _calls(program)}
    return {
        name: passing[name](values["scope"][0], values["scope"][1], frac_bits)
        for name, values in keywords.items()
        if isinstance(values.get("scope"), tuple)
    }


def _calls(program: Program) -> list[fx.Node]:
    return [node for node in program.graph.nodes if node.op == "call_function"]


INPUT_MARGIN = 4.0
"""A secret input may be this much larger than ``range_margin`` times what calibration saw, before it is refused."""


def with_input_limits(program: Program, batches: Sequence[Sequence[Tensor]], options: Options) -> Program:
    """Return the program with a limit on every secret float input: a power of two above what the batches hold.

    What stays with the parties cannot be looked at, so its limit is one that is proven.
    """
    resident = _resident_limits(program)
    inputs = []
    for index, spec in enumerate(program.inputs):
        if spec.resident:
            inputs.append(replace(spec, limit=resident.get(spec.name, spec.limit)))
        elif spec.secrecy is Secrecy.SECRET and spec.dtype.is_floating_point:
            seen = max((float(batch[index].abs().max()) for batch in batches if batch[index].numel()), default=0.0)
            limit = 2.0 ** math.ceil(math.log2(max(1.0, seen * options.range_margin * INPUT_MARGIN)))
            inputs.append(replace(spec, limit=limit))
        else:
            inputs.append(spec)
    return program.with_changes(inputs=tuple(inputs), output=replace(program.output, resident=tuple(resident.items())))


def _resident_limits(program: Program) -> dict[str, float]:
    """Return what each resident output, and the input of its name, is proven to stay below in any number of calls.

    What one layer leaves may depend on what another left before: limits are raised until they prove themselves.
    """
    limits = dict(program.output.resident)
    if not limits:
        return limits
    (results,) = program.graph.output_node().args
    nodes = dict(zip(program.output.keys, cast("tuple[fx.Node, ...]", results), strict=True))
    for _round in range(len(limits) + 1):
        inputs = tuple(replace(spec, limit=limits.get(spec.name, spec.limit)) for spec in program.inputs)
        proven = bounds(program.with_changes(inputs=inputs), {})
        raised = {name: max(given, _power_above(name, proven[nodes[name].name])) for name, given in limits.items()}
        if raised == limits:
            return limits
        limits = raised
    raise UnsupportedOp(
        f"nothing proves how large {', '.join(limits)} can get, which stay with the parties and grow from call to call",
        hint="Put a norm, or another function of bounded values, before them.",
    )


def _power_above(name: str, size: float) -> float:
    if math.isinf(size):
        raise UnsupportedOp(
            f"nothing proves how large {name} can be, which stays with the parties between calls",
            hint="Put a norm, or another function of bounded values, before it.",
        )
    return 2.0 ** math.ceil(math.log2(max(1.0, size)))


class _Watcher(fx.Interpreter):
    """Runs a graph and keeps, for each site, the inputs it saw."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.seen: dict[str, list[Any]] = {}

    def run_node(self, n: fx.Node) -> Any:
        if n.target in _RANGES:
            args, kwargs = self.fetch_args_kwargs_from_env(n)
            self.seen.setdefault(n.name, []).append(_NOTES[n.target](*args, **kwargs))
        return super().run_node(n)


def _extent(x: Tensor) -> tuple[float, float]:
    return float(x.min()), float(x.max())


def _hull(pairs: Iterable[tuple[float, float]]) -> tuple[float, float]:
    lows, highs = zip(*pairs, strict=True)
    return min(lows), max(highs)


def _widened(low: float, high: float, margin: float) -> tuple[float, float]:
    middle, half = (low + high) / 2, max((high - low) / 2, SMALLEST_RANGE)
    return _rounded(middle - margin * half), _rounded(middle + margin * half)


def _rounded(x: float, digits: int = 3) -> float:
    """Round to a few digits: the value stands in public code, and need not tell more of the data than that."""
    return float(f"{x:.{digits}g}")


def _curve(notes: list[tuple[float, float]], margin: float, tolerance: float) -> dict[str, Any]:
    return {"scope": _widened(*_hull(notes), margin), "tolerance": _rounded(tolerance)}


def _quadratic(notes: list[tuple[float, float]], margin: float, _tolerance: float) -> dict[str, Any]:
    return {"scope": _widened(*_hull(notes), margin)}


def _positive(notes: list[tuple[float, float]], margin: float, _tolerance: float) -> dict[str, Any]:
    low, high = _hull(notes)
    return {"scope": (_rounded(low / margin), _rounded(high * margin))}


def _variance(notes: list[tuple[float, float]], margin: float, _tolerance: float) -> dict[str, Any]:
    low, high = _hull(notes)
    return {"variance": (_rounded(low / margin**2), _rounded(high * margin**2))}


def _layer_norm_note(x: Tensor, _w: object = None, _b: object = None, eps: float = 1e-5) -> tuple[float, float]:
    return _extent(x.var(-1, unbiased=False) + eps)


def _rms_norm_note(x: Tensor, _w: object = None, eps: float = 1e-6) -> tuple[float, float]:
    return _extent(x.square().mean(-1) + eps)


@dataclass(frozen=True)
class _Scores:
    """Scores a softmax saw; a secret mask is not known when they are shifted and tested, only in the sums."""

    x: Tensor
    public: Tensor | None
    kept: Tensor
    form: str = "exp"


def _softmax_note(x: Tensor, mask: Tensor | None = None, form: str = "exp") -> _Scores:
    if mask is None:
        return _Scores(x, None, torch.ones_like(x, dtype=torch.bool), form)
    kept = (mask if mask.dtype == torch.bool else mask > 0.5).expand(x.shape)  # noqa: PLR2004 - of 0 and 1
    return _Scores(x, kept if mask.dtype == torch.bool else None, kept, form)


def _softmax(notes: list[_Scores], margin: float, tolerance: float) -> dict[str, Any]:
    find = {"exp": _exponential_range, "2quad": _square_range, "2relu": _positive_range}[notes[0].form]
    return {"scope": find(notes, margin), "tolerance": _rounded(tolerance)}


def _square_range(notes: list[_Scores], margin: float) -> SoftmaxRange:
    """Return the range of the kept scores, and of the mean of a row's squares."""
    low, high = _widened(*_hull(_extent(note.x[note.kept]) for note in notes if bool(note.kept.any())), margin)
    means = _hull(_extent(_mean_square(note)) for note in notes if bool(note.kept.any()))
    return SoftmaxRange(low, high, ((_rounded(means[0] / margin), _rounded(means[1] * margin)),))


def _mean_square(note: _Scores) -> Tensor:
    squares = torch.where(note.kept, torch.square(note.x + QUAD_SHIFT), 0.0)
    count = note.kept.sum(-1) if note.public is not None else torch.tensor(note.x.shape[-1])
    return (squares.sum(-1) / count.clamp(min=1))[note.kept.any(-1)]


def _positive_range(notes: list[_Scores], margin: float) -> SoftmaxRange:
    """Return the range of the scores, which nothing depends on, and of the sum of what is positive in a row."""
    low, high = _widened(*_hull(_extent(note.x) for note in notes), margin)
    totals = [float((torch.relu(note.x) * note.kept).sum(-1).max()) for note in notes]
    return SoftmaxRange(low, high, ((LEAST_TOTAL, _rounded(max(1.0, *totals) * margin)),))


def _exponential_range(notes: list[_Scores], margin: float) -> SoftmaxRange:
    flat = [(note.x, note.public) for note in notes]
    constant = _extent_of_kept(flat, lambda x, _keep: x)
    centred = _extent_of_kept(flat, _centred)
    low, high = _widened(*constant, margin)
    if high - low <= EXPONENT_SPAN:
        shift, middle = False, (low + high) / 2
    else:
        shift, middle = True, 0.0
        low, high = _widened(*centred, margin)
    halvings = max(0, math.ceil(math.log2((high - low) / EXPONENT_SPAN)))
    shifted = [((_centred(note.x, note.public) if shift else note.x - middle), note) for note in notes]
    totals = _totals(shifted, halvings, margin)
    return SoftmaxRange(_rounded(low - middle), _rounded(high - middle), totals, shift, _rounded(middle), halvings)


def _centred(x: Tensor, keep: Tensor | None) -> Tensor:
    weights = centre_weights(keep, x.shape[-1]).to(x.dtype)
    return x - (x * weights).sum(-1, keepdim=True) / weights.sum(-1, keepdim=True).clamp(min=1)


def _extent_of_kept(
    flat: list[tuple[Tensor, Tensor | None]], shifted: Callable[[Tensor, Tensor | None], Tensor]
) -> tuple[float, float]:
    kept = [shifted(x, keep) if keep is None else shifted(x, keep)[keep] for x, keep in flat]
    return _hull(_extent(values) for values in kept if values.numel())


def _totals(shifted: list[tuple[Tensor, _Scores]], halvings: int, margin: float) -> tuple[tuple[float, float], ...]:
    """Return, per level, the range of a row's mean exponential, then of its sums of squared probabilities."""
    extents: list[list[tuple[float, float]]] = [[] for _ in range(halvings + 1)]
    for x, note in shifted:
        kept, rows = note.kept, note.kept.any(-1)
        weights = torch.where(kept, torch.exp(x * 2.0**-halvings), torch.zeros_like(x))
        count = kept.sum(-1).clamp(min=1) if note.public is not None else x.shape[-1]
        extents[0].append(_extent((weights.sum(-1) / count)[rows]))
        for level in range(1, halvings + 1):
            probabilities = weights / weights.sum(-1, keepdim=True).clamp(min=1e-30)
            weights = probabilities.square()
            extents[level].append(_extent(weights.sum(-1)[rows]))
    first, *others = [_hull(level) for level in extents]
    widened = [(_rounded(first[0] / margin), _rounded(first[1] * margin))]
    widened += [(_rounded(low / margin), _rounded(min(high * margin, 1.1))) for low, high in others]
    return tuple(widened)


_RANGES: dict[Any, Callable[[Any, float, float], dict[str, Any]]] = {
    **dict.fromkeys(CURVES, _curve),
    ops.quadratic: _quadratic,
    ops.reciprocal: _positive,
    ops.rsqrt: _positive,
    ops.layer_norm: _variance,
    ops.rms_norm: _variance,
    ops.softmax: _softmax,
    ops.attend: _softmax,
}
_NOTES: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys((*CURVES, ops.quadratic), lambda x, *_, **__: _extent(x)),
    ops.reciprocal: _extent,
    ops.rsqrt: _extent,
    ops.layer_norm: _layer_norm_note,
    ops.rms_norm: _rms_norm_note,
    ops.softmax: _softmax_note,
    ops.attend: lambda x, _y, mask=None, form="exp": _softmax_note(x, mask, form),
}
