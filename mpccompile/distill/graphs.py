"""Programs as modules that can be trained and looked into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from mpccompile.errors import DistillationError
from mpccompile.ir.program import Program, origin_of
from mpccompile.ir.rewrite import copied, with_values


def trainable(program: Program) -> fx.GraphModule:
    """Return a copy whose weights are parameters of its own; two names of one memory stay one parameter.

    Weights that the model has frozen (``requires_grad=False``) stay frozen, and so do buffers and constants.
    """
    module = copied(program.module)
    made: dict[tuple[object, ...], nn.Parameter] = {}
    for name, weight in list(module.named_parameters(remove_duplicate=False)):
        memory = (weight.data_ptr(), tuple(weight.shape), weight.stride())
        # Tensors without elements share the address 0.
        key = memory if weight.numel() else (name,)
        if key not in made:
            made[key] = nn.Parameter(weight.detach().clone(), requires_grad=weight.requires_grad)
        owner, _, attribute = name.rpartition(".")
        setattr(module.get_submodule(owner), attribute, made[key])
    if not any(weight.requires_grad for weight in made.values()):
        raise DistillationError(
            "the student has no weight to train",
            hint="Make it with mpccompile.program, of a model whose parameters require gradients.",
        )
    return module


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """Return every parameter by each of its names, detached."""
    return {name: weight.detach() for name, weight in module.named_parameters(remove_duplicate=False)}


def with_weights(program: Program, weights: Mapping[str, Tensor]) -> Program:
    """Return the program with weights of its own, and the answers of these on the example inputs as its reference."""
    module = trainable(program)
    with torch.no_grad():
        for name, weight in module.named_parameters(remove_duplicate=False):
            weight.copy_(weights[name])
        reference = tuple(answer.float() for answer in module(*program.example_inputs))
    return program.with_changes(module=module, reference=reference)


@dataclass(frozen=True)
class Probed:
    """A graph that also gives inner values.

    Attributes:
        module: Returns ``(outputs, values)``.
        names: Nodes of the values.
        logits: Which output is the answer.
    """

    module: fx.GraphModule
    names: tuple[str, ...]
    logits: int

    def __call__(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the answer and the inner values by name."""
        outputs, values = self.module(*inputs.values())
        return outputs[self.logits].float(), dict(zip(self.names, values, strict=True))


def probed(program: Program, module: fx.GraphModule, names: Sequence[str]) -> Probed:
    """Return ``module``, a graph of the program, so that it also gives the named values; tensors are shared."""
    unique = tuple(dict.fromkeys(names))
    return Probed(with_values(module, unique), unique, logits_of(program))


def logits_of(program: Program) -> int:
    """Return which output is the answer: the one named logits, or the first."""
    keys = program.output.keys
    return keys.index("logits") if "logits" in keys else 0


def check_rows(program: Program, names: Sequence[str]) -> None:
    """Check that the answer and the named values have one entry per row first, so that rows can be left out.

    Rows of the example inputs are moved round by one: values that have them first move with them.

    Raises:
        DistillationError: If one does not.
    """
    graph = probed(program, program.module, names)
    inputs = {spec.name: value for spec, value in zip(program.inputs, program.example_inputs, strict=True)}
    count = next(iter(inputs.values())).shape[0]
    with torch.no_grad():
        logits, values = graph(inputs)
        moved_logits, moved = graph({name: value.roll(1, 0) for name, value in inputs.items()})
    for name in ("", *names):
        value, other = (values[name], moved[name]) if name else (logits, moved_logits)
        by_row = value.shape[0] % count == 0 if value.dim() else False
        if by_row and torch.allclose(
            value.reshape(count, -1).float().roll(1, 0),
            other.reshape(count, -1).float(),
            rtol=1e-3,
            atol=1e-3,
            equal_nan=True,
        ):
            continue
        where = str(origin_of(next(node for node in program.graph.nodes if node.name == name))) if name else "output"
        raise DistillationError(
            f"a value of shape {list(value.shape)} does not have the {count} rows of the batch first",
            where=where,
            hint="Write the model so that the batch comes first, or leave the stage of layers out.",
        )
