"""Capture a PyTorch module as a Program of whole ATen operations."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn

from mpccompile.capture.origins import annotate, place_of_error
from mpccompile.capture.outputs import Kept, keep
from mpccompile.capture.positions import NAME as POSITION_IDS
from mpccompile.capture.positions import Positions, bake, supplied
from mpccompile.errors import CaptureFailed, OptionError
from mpccompile.ir.program import InputSpec, Program, Secrecy, origin_of
from mpccompile.ir.rewrite import copied, tidy, weight_data
from mpccompile.ir.secrecy import infer
from mpccompile.ir.verify import max_error
from mpccompile.options import Options

if TYPE_CHECKING:
    from torch.export import ExportedProgram

# Inputs that say how long a text is and where its parts are, not what it says.
_PUBLIC_NAMES = frozenset({"attention_mask", "decoder_attention_mask", "position_ids", "token_type_ids", "head_mask"})
_AGREEMENT = 1e-4
_CONFIG = {"use_cache": False, "return_dict": True}


def capture(model: nn.Module, inputs: Mapping[str, Any] | Sequence[Any], options: Options | None = None) -> Program:
    """Capture ``model`` for inputs of these shapes.

    Token ids and float inputs are secret; masks, position ids and token type ids are public, unless the options say
    otherwise. Parameters and floating buffers of the state dict are secret; other buffers and constants are public.
    A model that derives position ids from secret token ids (RoBERTa) gets them from the attention mask instead, or,
    without a mask, as if no token were padding. Of a ModelOutput the by-products (cache, hidden states, attentions)
    are dropped. torch.nn.TransformerEncoder is captured without its fast path, which writes 0 at padded places. The
    model itself is left as it was.

    Args:
        model: A module in float32 on the CPU; training or eval, it is captured as in eval mode.
        inputs: Keyword arguments of ``forward``, or its positional ones. Values that are not tensors are baked in.
        options: Whose ``secret``, ``public`` and ``embedding`` say who may know what.

    Returns:
        The program: placeholders, weights, ATen calls and one output, all with ``meta["val"]`` and ``meta["origin"]``.

    Raises:
        CaptureFailed: If the model cannot be exported, changes its state, or returns something else than tensors that
            depend on its inputs.
        OptionError: If ``secret`` or ``public`` name an input that is not given.
    """
    options = options or Options()
    given = _by_name(model, inputs)
    # Export takes one tensor given twice for one input, which may be secret the one time and public the other.
    tensors = {name: value.detach().clone() for name, value in given.items() if isinstance(value, Tensor)}
    given |= tensors
    secrecy = _secrecy(tensors, options)
    _check_weights(model)
    positions = supplied(model, tensors, {name for name, level in secrecy.items() if level is Secrecy.SECRET})
    given |= {} if positions is None else {POSITION_IDS: positions.values}
    with as_for_inference(model):
        kept = _answer(model, given)
        exported = _export(model, given)
        module = _graph(exported, given, kept, positions)
    program = _program(module, exported, kept, tensors, secrecy).with_changes(name=type(model).__name__)
    if options.embedding == "public":
        program = program.with_changes(secret_attributes=program.secret_attributes - _looked_up(program))
    _check_outputs(program)
    _check_agreement(program)
    return program


def _by_name(model: nn.Module, inputs: Mapping[str, Any] | Sequence[Any]) -> dict[str, Any]:
    if isinstance(inputs, Tensor):
        inputs = (inputs,)
    if isinstance(inputs, Mapping):
        given = dict(inputs)
    else:
        names = [
            name
            for name, parameter in inspect.signature(model.forward).parameters.items()
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]
        if len(inputs) > len(names):
            raise CaptureFailed(f"{len(inputs)} inputs are given, but forward takes {', '.join(names)}")
        given = dict(zip(names, inputs, strict=False))
    for name, value in given.items():
        if not isinstance(value, (Tensor, bool, int, float, str, type(None))):
            raise CaptureFailed(
                f"Input {name!r} is a {type(value).__name__}",
                where=f"input {name}",
                hint="Give tensors; None, a number or a bool is baked in.",
            )
        if isinstance(value, Tensor) and not value.numel():
            raise CaptureFailed(
                f"Input {name!r} has no elements: its shape is {list(value.shape)}",
                where=f"input {name}",
                hint="Give each dim a size of 1 or more.",
            )
    if not any(isinstance(value, Tensor) for value in given.values()):
        raise CaptureFailed("No input is a tensor", hint="Give example inputs, such as a tokenizer's output.")
    return given


def _secrecy(tensors: Mapping[str, Tensor], options: Options) -> dict[str, Secrecy]:
    unknown = sorted((set(options.secret) | set(options.public)) - set(tensors))
    if unknown:
        raise OptionError(
            f"There is no input named {', '.join(unknown)}",
            where="options secret and public",
            hint=f"The inputs are {', '.join(tensors)}.",
        )

    def level(name: str) -> Secrecy:
        if name in options.secret:
            return Secrecy.SECRET
        public = name in options.public or name in _PUBLIC_NAMES or tensors[name].dtype == torch.bool
        return Secrecy.PUBLIC if public else Secrecy.SECRET

    return {name: level(name) for name in tensors}


def _check_weights(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if parameter.device.type != "cpu":
            raise CaptureFailed(
                f"The weight {name} is on {parameter.device}, not on the CPU", where=name, hint="Compile model.cpu()."
            )
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            raise CaptureFailed(
                f"The weight {name} is {str(parameter.dtype).removeprefix('torch.')}, not float32",
                where=name,
                hint="Compile model.float().",
            )
        if not _is_finite(parameter.detach()):
            raise CaptureFailed(
                f"The weight {name} holds NaN or infinity",
                where=name,
                hint="Look at how the model was trained or loaded.",
            )


def _is_finite(weight: Tensor) -> bool:
    """Look at the ends of the numbers, which NaN is too: a test of each would take more memory than the weight."""
    return weight.numel() == 0 or all(bool(end.isfinite()) for end in (weight.amin(), weight.amax()))


@contextmanager
def as_for_inference(model: nn.Module) -> Iterator[None]:
    """Put the model in eval mode without caches, and undo all of it afterwards."""
    training = {module: module.training for module in model.modules()}
    configs = {id(module.config): module.config for module in model.modules() if hasattr(module, "config")}
    saved = [
        (config, name, getattr(config, name))
        for config in configs.values()
        for name in _CONFIG
        if isinstance(getattr(config, name, None), bool)
    ]
    fast_path = torch.backends.mha.get_fastpath_enabled()
    try:
        model.eval()
        for config, name, _ in saved:
            setattr(config, name, _CONFIG[name])
        # The fused encoder layer of torch.nn is one opaque call for everything a layer does.
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for config, name, value in saved:
            setattr(config, name, value)
        for module, mode in training.items():
            module.training = mode


def _answer(model: nn.Module, given: Mapping[str, Any]) -> Kept:
    try:
        answer = model(**given)
    except Exception as error:
        raise CaptureFailed(
            f"The model fails on these inputs: {type(error).__name__}: {error}",
            where=place_of_error(error, model),
            hint=_too_long(model, given) or "Call the model itself with the same inputs first.",
        ) from error
    return keep(answer)


def _too_long(model: nn.Module, given: Mapping[str, Any]) -> str:
    """Say so where an input has more tokens than the model's config has positions for; empty where none has."""
    most = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    for name, value in given.items():
        ids = isinstance(value, Tensor) and value.ndim > 1 and not value.is_floating_point()
        if ids and isinstance(most, int) and value.shape[1] > most:
            return f"{name} has {value.shape[1]} tokens, and the model has {most} positions: give shorter inputs."
    return ""


def _export(model: nn.Module, given: Mapping[str, Any]) -> ExportedProgram:
    try:
        exported: ExportedProgram = torch.export.export(model, (), dict(given), strict=False).run_decompositions({})
    except Exception as error:
        first_line = (str(error).strip().splitlines() or [""])[0]
        raise CaptureFailed(
            f"torch.export cannot capture the model: {type(error).__name__}: {first_line}",
            where=place_of_error(error, model),
            hint="Make forward depend on shapes, not on tensor values (no if, item() or tolist() on a tensor).",
        ) from error
    changed = sorted(set(exported.graph_signature.buffers_to_mutate.values()))
    if changed:
        raise CaptureFailed(
            f"The model changes its own state: {', '.join(changed)}",
            where=changed[0],
            hint="Make forward a function of its inputs.",
        )
    return exported


def _graph(
    exported: ExportedProgram, given: Mapping[str, Any], kept: Kept, positions: Positions | None
) -> fx.GraphModule:
    """Return the graph of plain calls: no guards, no constant inputs, only the kept outputs."""
    unlifted = exported.module(check_guards=False)
    unlifted.graph.set_codegen(fx.graph.CodeGen())
    module = copied(unlifted)
    _name_inputs(module, given)
    annotate(module.graph)
    for node in reversed(list(module.graph.nodes)):
        if node.op == "call_function" and "assert" in str(node.target):
            module.graph.erase_node(node)
        elif node.op == "placeholder" and not isinstance(node.meta.get("val"), Tensor):
            node.replace_all_uses_with(node.meta.get("val"), propagate_meta=False)
            module.graph.erase_node(node)
    output = module.graph.output_node()
    leaves = output.args[0]
    if not isinstance(leaves, (tuple, list)) or len(leaves) != kept.leaves:
        raise CaptureFailed(
            "The captured graph returns another number of values than the model",
            hint="Return tensors, a tuple or a dict of tensors.",
        )
    output.args = (tuple(leaves[position] for position in kept.positions),)
    if positions is not None:
        bake(module, positions)
    tidy(module)
    _check_plain(module)
    return module


def _name_inputs(module: fx.GraphModule, given: Mapping[str, Any]) -> None:
    """Give inputs the names of the arguments again: torch.export writes them in small letters, and in ASCII."""
    names = {re.sub(r"\W", "_", name.lower(), flags=re.ASCII): name for name in given}
    if len(names) < len(given):
        raise CaptureFailed(
            f"Some of the inputs {', '.join(given)} differ in capital letters, or in letters that are not ASCII, only",
            hint="Give them other names.",
        )
    for node in module.graph.nodes:
        if node.op == "placeholder":
            node.target = names.get(str(node.target), node.target)


def _check_plain(module: fx.GraphModule) -> None:
    for node in module.graph.nodes:
        if node.op == "call_module" or (node.op == "get_attr" and not isinstance(node.meta.get("val"), Tensor)):
            raise CaptureFailed(
                f"The captured graph holds a block {node.target} of operations of its own",
                where=str(origin_of(node)),
                hint="Take torch.cond, while_loop, map, autocast and checkpoint regions out of forward.",
            )


def _program(
    module: fx.GraphModule,
    exported: ExportedProgram,
    kept: Kept,
    tensors: Mapping[str, Tensor],
    secrecy: Mapping[str, Secrecy],
) -> Program:
    names = [str(node.target) for node in module.graph.nodes if node.op == "placeholder"]
    signature = exported.graph_signature
    stored = set(signature.buffers) - set(signature.non_persistent_buffers)
    floating = {name for name in stored if exported.state_dict[name].is_floating_point()}
    read = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    return Program(
        module=module,
        inputs=tuple(InputSpec(name, tuple(tensors[name].shape), tensors[name].dtype, secrecy[name]) for name in names),
        output=kept.spec,
        example_inputs=tuple(tensors[name] for name in names),
        reference=kept.tensors,
        secret_attributes=frozenset((set(signature.parameters) | floating) & read),
    )


def _looked_up(program: Program) -> set[str]:
    """Name the tables that secret ids index, and every other name of the same memory (tied weights)."""
    module, secret = program.module, infer(program)
    tables = {
        weight_data(module, node.args[0]).data_ptr()
        for node in program.graph.nodes
        if node.target == torch.ops.aten.embedding.default and secret[node.args[1]] is Secrecy.SECRET
    }
    return {
        str(node.target)
        for node in program.graph.nodes
        if node.op == "get_attr" and weight_data(module, node).data_ptr() in tables
    }


def _check_outputs(program: Program) -> None:
    """Refuse what is no answer: a weight, whatever is made of it, and what all parties know."""
    given, secret = set[fx.Node](), infer(program)
    for node in program.graph.nodes:
        if node.op == "placeholder" or given.intersection(node.all_input_nodes):
            given.add(node)
    # One value may be an output twice, which all_input_nodes lists once.
    results: list[fx.Node] = []
    fx.map_arg(program.graph.output_node().args, results.append)
    for key, node in zip(program.output.keys, results, strict=True):
        known = secret[node] is not Secrecy.SECRET
        if known or node not in given:
            raise CaptureFailed(
                f"The output {key} is made of {'public values' if known else 'weights'} alone",
                where=str(origin_of(node)),
                hint="Leave it out of what the model returns.",
            )


def _check_agreement(program: Program) -> None:
    error = max_error(program)
    scale = max([1.0, *(float(tensor.abs().max()) for tensor in program.reference if tensor.numel())])
    if not error <= _AGREEMENT * scale:
        raise CaptureFailed(
            f"The captured graph differs from the model by {error:.2g} on the example inputs",
            hint="Look for randomness, or for state that one call leaves to the next.",
        )
