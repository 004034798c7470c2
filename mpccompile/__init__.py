"""Compile PyTorch Transformers into programs that two parties run on secret shares.

private = mpccompile.compile(model)
logits = private(**tokenizer("text", return_tensors="pt")).logits
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpccompile.errors import MpcCompileError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn

    from mpccompile.compiler import Pass
    from mpccompile.diagnosis import Diagnosis
    from mpccompile.distill.config import DistillationConfig, Stage
    from mpccompile.distill.result import Distilled
    from mpccompile.distill.run import distill
    from mpccompile.evaluation.evaluate import Evaluation
    from mpccompile.ir.network import Network
    from mpccompile.ir.program import Program
    from mpccompile.options import Options
    from mpccompile.private import PrivateModel
    from mpccompile.tuning.tune import Tuned

__version__ = "0.1.0"
__all__ = [
    "DistillationConfig",
    "Distilled",
    "MpcCompileError",
    "Network",
    "Options",
    "Stage",
    "compile",
    "diagnose",
    "distill",
    "evaluate",
    "load",
    "program",
    "tune",
]


def compile(  # noqa: A001 - named as torch.compile is
    model: nn.Module | str | Path,
    *,
    example_inputs: Any = None,
    input_shapes: Mapping[str, Sequence[int] | int] | None = None,
    options: Options | None = None,
    passes: Sequence[Pass] | None = None,
    **option_fields: Any,
) -> PrivateModel:
    """Return a private version of ``model``: call it as the model is called.

    Args:
        model: A PyTorch module, such as a Hugging Face Transformer, which is not changed; or the path of an ONNX file.
        example_inputs: A dict of tensors, or a list of dicts of which the first is captured and all calibrate the
            ranges of private values. Without it the first call captures and calibrates on its own inputs.
        input_shapes: For an ONNX file without example inputs: shapes by input, or sizes by the name of an open dim. The
            ranges come from made-up inputs then.
        options: What to compile for; fields can be given as keywords instead.
        passes: More passes after the exact ones.
        option_fields: Fields of :class:`Options`.

    Raises:
        OptionError: If an option means nothing.
        InputError: If an ONNX file cannot be read, or does not take such inputs.
        CaptureFailed: If the model cannot be captured.
        UnsupportedOp: If it computes something on secrets that has no private implementation.
    """
    from torch import nn

    from mpccompile import private
    from mpccompile.options import Options

    if not isinstance(model, nn.Module) or input_shapes is not None:
        from mpccompile.capture.from_onnx.opened import opened

        model, example_inputs = opened(model, example_inputs, input_shapes)
    return private.make(model, example_inputs, Options.merged(options, option_fields), passes)


def program(
    model: nn.Module,
    example_inputs: Mapping[str, Tensor] | Sequence[Tensor],
    *,
    options: Options | None = None,
    **option_fields: Any,
) -> Program:
    """Return the program of ``model`` that training works on: its functions named, and replaced where options say so.

    No weight is folded into another, so that each keeps its dotted name. The program runs in plaintext and is
    differentiable; see :func:`mpccompile.distill`.

    Args:
        model: A PyTorch module; it is not changed, and shares its weights with the program.
        example_inputs: Inputs by name, or positional ones; their shapes are the program's.
        options: What to compile for; fields can be given as keywords instead.
        option_fields: Fields of :class:`Options`.

    Raises:
        OptionError: If an option means nothing.
        CaptureFailed: If the model cannot be captured.
        UnsupportedOp: If it computes something on secrets that has no private implementation.
    """
    from mpccompile.distill.program import make
    from mpccompile.options import Options

    return make(model, example_inputs, Options.merged(options, option_fields))


def diagnose(
    model: nn.Module,
    example_inputs: Mapping[str, Tensor] | Sequence[Tensor],
    *,
    options: Options | None = None,
    passes: Sequence[Pass] | None = None,
    **option_fields: Any,
) -> Diagnosis:
    """Run every pass of a compilation by itself, and return which break the model and at which operation.

    Args:
        model: A PyTorch module; it is not changed.
        example_inputs: Inputs by name, or positional ones, to capture and compare with.
        options: What to compile for; fields can be given as keywords instead.
        passes: More passes after the exact ones, such as one that is being written.
        option_fields: Fields of :class:`Options`.

    Raises:
        OptionError: If an option means nothing.
        CaptureFailed: If the model cannot be captured.
        UnsupportedOp: If it computes something on secrets that has no private implementation.
    """
    from mpccompile import approximations
    from mpccompile.diagnosis import diagnose as run
    from mpccompile.options import Options

    return run(model, example_inputs, approximations.check(Options.merged(options, option_fields)), passes)


def load(folder: str | Path) -> PrivateModel:
    """Return the private model saved in ``folder``.

    Raises:
        PackageError: If the folder is not a package, or a file in it is missing, damaged or edited.
    """
    from mpccompile.codegen.package import read
    from mpccompile.private import PrivateModel

    return PrivateModel.from_package(read(Path(folder)))


def evaluate(target: PrivateModel | str | Path, data: Any, **choices: Any) -> Evaluation:
    """Run labelled examples in plaintext, simulated and privately, and return how accurate each is.

    Args:
        target: A compiled model, or the folder of a package.
        data: Rows with ``"labels"``: a dict of columns, a data set, a DataLoader, or any iterable of dicts.
        choices: See :func:`mpccompile.evaluation.evaluate.evaluate`: ``model``, ``batch_size``, ``limit``, ``ways`` and
            ``progress``.

    Raises:
        InputError: If the data does not fit the model, labels are missing, or the model is no classifier.
    """
    from mpccompile.evaluation.evaluate import evaluate as run

    return run(target, data, **choices)


def tune(model: nn.Module, data: Any, *, budget: float, **choices: Any) -> Tuned:
    """Return the approximations that make private calls fastest while the accuracy lost stays within ``budget``.

    Args:
        model: The model; it is not changed.
        data: Rows with ``"labels"``: a dict of columns, a data set, a DataLoader, or any iterable of dicts.
        budget: Most accuracy that may be lost, 0.01 for one point of a hundred.
        choices: See :func:`mpccompile.tuning.tune.tune`: ``network``, ``candidates``, ``batch_size``, ``options`` and
            ``progress``.

    Returns:
        What was tried, and ``options`` for ``mpccompile.compile(model, **tuned.options)``.

    Raises:
        OptionError: If the budget, the network or a candidate means nothing.
        InputError: If the data does not fit, or the model is no classifier.
    """
    from mpccompile.tuning.tune import tune as run

    return run(model, data, budget=budget, **choices)


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "Network":
        return import_module("mpccompile.ir.network").Network

    if name == "Options":
        return import_module("mpccompile.options").Options
    if name == "distill":
        return import_module("mpccompile.distill")
    if name in {"DistillationConfig", "Distilled", "Stage"}:
        return getattr(import_module("mpccompile.distill"), name)
    raise AttributeError(f"module 'mpccompile' has no attribute {name!r}")
