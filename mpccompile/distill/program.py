"""Programs to train: as captured, with functions named and replaced, before anything is folded into a weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from mpccompile import compiler
from mpccompile.distill.own_weights import with_own_weights

if TYPE_CHECKING:
    from mpccompile.ir.program import Program
    from mpccompile.options import Options


def make(model: nn.Module, example_inputs: Mapping[str, Tensor] | Sequence[Tensor], options: Options) -> Program:
    """Capture and lower a model, name its functions, and replace those that the options name.

    No pass that folds weights runs, so that each weight keeps its dotted name in the model; those that lowering stores
    the other way round, as GPT-2's, are the model's own again. Weights that became part of others, as those of batch
    norms, do not train: a warning names them.

    Args:
        model: A module in float32 on the CPU; it is left as it was, and shares its weights with the program.
        example_inputs: A batch of the size to train with.
        options: Whose approximations are applied.

    Raises:
        CaptureFailed: If the model cannot be captured.
        UnsupportedOp: If it computes something on secrets that has no private implementation.
        OptionError: If an approximation, or a pattern of sites, names nothing.
    """
    return with_own_weights(compiler.approximate(compiler.recognise(model, example_inputs, options), options), model)
