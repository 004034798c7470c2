"""The whole compiler on one page: capture, lower, approximations, passes in order, calibrate, emit, package."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from mpccompile import debugging
from mpccompile.capture import from_torch
from mpccompile.capture.from_onnx import capture as from_onnx
from mpccompile.capture.from_onnx.model import OnnxModel
from mpccompile.codegen import package
from mpccompile.codegen.ranges import calibrate, with_input_limits
from mpccompile.debugging import timed
from mpccompile.errors import InputError
from mpccompile.ir.program import PassRecord, Program
from mpccompile.ir.tables import with_table_rows
from mpccompile.ir.text import to_text
from mpccompile.lowering.lower import lower
from mpccompile.passes.driver import collect, run_passes
from mpccompile.passes.drop_no_ops import drop_no_ops
from mpccompile.passes.fold_affine_after_linear import fold_affine_after_linear
from mpccompile.passes.fold_constant_arithmetic import fold_constant_arithmetic
from mpccompile.passes.fold_linear_chain import fold_linear_chain
from mpccompile.passes.fold_norm_affine import fold_norm_affine
from mpccompile.passes.fold_scales import fold_scales
from mpccompile.passes.fuse_softmax_matmul import fuse_softmax_matmul
from mpccompile.passes.group_shared_heads import group_shared_heads
from mpccompile.passes.hoist_before_expand import hoist_before_expand
from mpccompile.passes.hoist_linear_before_views import hoist_linear_before_views
from mpccompile.passes.hoist_takes import hoist_takes
from mpccompile.passes.merge_parallel_linears import merge_parallel_linears
from mpccompile.passes.recognise_gelu import recognise_gelu
from mpccompile.passes.recognise_layer_norm import recognise_layer_norm
from mpccompile.passes.recognise_rms_norm import recognise_rms_norm
from mpccompile.passes.recognise_silu import recognise_silu
from mpccompile.passes.reorder_matmul_chains import reorder_matmul_chains
from mpccompile.passes.replace_functions import replace_functions
from mpccompile.passes.schedule_rounds import schedule_rounds

if TYPE_CHECKING:
    from mpccompile.codegen.package import Package
    from mpccompile.codegen.ranges import Site
    from mpccompile.options import Options

logger = logging.getLogger(__name__)

Pass = Callable[[Program], Program]
Observer = Callable[[Program, PassRecord], None]

RECOGNISERS: tuple[Pass, ...] = (recognise_gelu, recognise_silu, recognise_rms_norm, recognise_layer_norm)
"""First, for stock CrypTen too: functions are named as the user meant them, and nothing is made cheaper."""

EXACT_PASSES: tuple[Pass, ...] = (
    fold_constant_arithmetic,
    drop_no_ops,
    hoist_before_expand,
    hoist_linear_before_views,
    drop_no_ops,
    group_shared_heads,
    fold_affine_after_linear,
    fold_scales,
    fold_linear_chain,
    reorder_matmul_chains,
    fold_norm_affine,
    hoist_takes,
    merge_parallel_linears,
    drop_no_ops,
    fuse_softmax_matmul,
    schedule_rounds,
)
"""Always on for this package's own protocols, in this order.

As the recognisers, each is held to 1e-5 of the captured model, or of what approximations made of it.
"""


def build(
    model: nn.Module,
    example_inputs: Mapping[str, Tensor] | Sequence[Tensor],
    folder: Path,
    *,
    options: Options,
    passes: Sequence[Pass] = EXACT_PASSES,
    calibration: Iterable[Mapping[str, Tensor]] = (),
    resident: Mapping[str, float] | None = None,
    observer: Observer | None = None,
) -> Package:
    """Compile ``model`` for inputs shaped like ``example_inputs`` and write the package to ``folder``.

    Args:
        model: The module; it is left as it was.
        example_inputs: Inputs to capture and calibrate with.
        folder: Where the package goes.
        options: What to compile for.
        passes: What follows the recognisers and the approximations, in order.
        calibration: More inputs of the same shapes to calibrate ranges with.
        resident: Names of inputs and outputs that stay with the parties between calls, each with what its absolute
            values are known to stay below so far.
        observer: Called after each pass.
    """
    program = recognise(model, example_inputs, options, observer=observer)
    program = staying(approximate(program, options, observer=observer), resident or {})
    with timed("passes"):
        program = _told("optimised", run_passes(program, passes, observer=observer))
    collect(program)
    batches = [program.example_inputs, *(in_order(program, batch) for batch in calibration)]
    expect_finite(program, batches)
    with timed("calibrate"):
        program, sites = with_ranges(program, batches, options)
    logger.info("compiled %s: %d operations", program.name, len(program.graph.nodes))
    with timed("write"):
        written = package.write(program, sites, options, folder)
    if debugging.shows(debugging.SOURCE):
        debugging.tell(debugging.SOURCE, f"# model.py\n{(folder / 'model.py').read_text(encoding='utf-8')}")
    return written


def _told(phase: str, program: Program) -> Program:
    if debugging.shows(debugging.PHASES):
        debugging.tell(debugging.PHASES, f"# {phase}\n{to_text(program)}")
    return program


def recognise(
    model: nn.Module,
    example_inputs: Mapping[str, Tensor] | Sequence[Tensor],
    options: Options,
    *,
    observer: Observer | None = None,
) -> Program:
    """Capture and lower a model, and name its functions as the user meant them."""
    program = lowered(model, example_inputs, options)
    with timed("recognise"):
        return _told("recognised", run_passes(program, RECOGNISERS, observer=observer))


def lowered(model: nn.Module, example_inputs: Mapping[str, Tensor] | Sequence[Tensor], options: Options) -> Program:
    """Capture a model and lower it to operations that have a private form."""
    with timed("capture"):
        program = _told("captured", capture(model, example_inputs, options))
    with timed("lower"):
        return _told("lowered", with_table_rows(lower(program)))


def capture(model: nn.Module, example_inputs: Mapping[str, Tensor] | Sequence[Tensor], options: Options) -> Program:
    """Capture a module of torch, or an ONNX file that was read as one."""
    if isinstance(model, OnnxModel):
        return from_onnx.capture(model, example_inputs, options)
    return from_torch.capture(model, example_inputs, options)


def approximate(program: Program, options: Options, *, observer: Observer | None = None) -> Program:
    """Put the chosen approximations in the place of a recognised program's functions."""
    with timed("approximate"):
        return _told("approximated", run_passes(program, [_replacing(options)], exact=False, observer=observer))


def _replacing(options: Options) -> Pass:
    return functools.update_wrapper(functools.partial(replace_functions, options=options), replace_functions)


def stages_of(options: Options, passes: Sequence[Pass] = ()) -> tuple[tuple[Pass, bool], ...]:
    """Return every pass of a compilation in order, and whether it has to keep the answers; ``passes`` come last."""
    first = [(each, True) for each in RECOGNISERS]
    return (*first, (_replacing(options), False), *((each, True) for each in (*passes_for(options), *passes)))


def staying(program: Program, resident: Mapping[str, float]) -> Program:
    """Return a program whose inputs and outputs of these names stay with the parties."""
    inputs = tuple(
        replace(spec, resident=spec.name in resident, limit=resident.get(spec.name, spec.limit))
        for spec in program.inputs
    )
    limits = tuple((key, resident[key]) for key in program.output.keys if key in resident)
    return program.with_changes(inputs=inputs, output=replace(program.output, resident=limits))


def with_ranges(
    program: Program, batches: Sequence[Sequence[Tensor]], options: Options
) -> tuple[Program, dict[str, Site]]:
    """Return a program with limits on its inputs, and its calibrated sites, from inputs it may see."""
    program = with_input_limits(program, batches, options)
    return program, calibrate(program, batches, options) if options.target == "mpccompile" else {}


def expect_finite(program: Program, batches: Sequence[Sequence[Tensor]]) -> None:
    """Refuse examples that no range can be calibrated on.

    Raises:
        InputError: If an input holds NaN or infinity.
    """
    for batch in batches:
        for spec, value in zip(program.inputs, batch, strict=True):
            if value.is_floating_point() and not bool(value.isfinite().all()):
                raise InputError("the example input holds NaN or infinity", where=f"input {spec.name}")


def passes_for(options: Options) -> tuple[Pass, ...]:
    """Return what makes a program cheaper: for stock CrypTen nothing does."""
    return () if options.target == "crypten" else EXACT_PASSES


def in_order(program: Program, batch: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """Return named inputs in the program's order."""
    return tuple(batch[spec.name] for spec in program.inputs)
