"""Programs that read the weights of their model, where lowering stored others that it made of them.

Training changes what a program reads: a copy that is stored the other way round would stay as it was.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from torch import fx, nn

from mpccompile.ir import ops
from mpccompile.ir.rewrite import MADE_OF, copied, inherit, insert_call, replace, tidy, value_of, weight_data

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mpccompile.ir.program import Program


def with_own_weights(program: Program, model: nn.Module) -> Program:
    """Return the program with a permute of the model's own parameter wherever it reads a transposed copy of one.

    before: ``linear(x, c_attn_weight_transposed)``
    after: ``linear(x, permute(c_attn.weight, (1, 0)))``

    Other weights that were made of parameters, as those of batch norms, stay as they are, and a warning names what
    will not train.
    """
    module, own = copied(program.module), dict(model.named_parameters(remove_duplicate=False))
    fixed: dict[str, None] = {}
    for node in list(module.graph.nodes):
        names = node.meta.get(MADE_OF, ())
        if len(names) == 1 and names[0] in own and _is_transpose(weight_data(module, node), own[names[0]]):
            stored = _read(module, node, names[0], own[names[0]])
            replace(node, insert_call(node, ops.permute, stored, (1, 0)))
        else:
            fixed |= dict.fromkeys(name for name in names if name in own and own[name].requires_grad)
    tidy(module)
    if fixed:
        warnings.warn(
            f"these weights became part of others, and training leaves them as they are: {', '.join(fixed)}",
            stacklevel=2,
        )
    return program.with_changes(module=module)


def _is_transpose(data: torch.Tensor, weight: torch.Tensor) -> bool:
    return weight.dim() == 2 and torch.equal(data, weight.detach().t())  # noqa: PLR2004 - a matrix


def _read(module: fx.GraphModule, before: fx.Node, name: str, weight: nn.Parameter) -> fx.Node:
    """Return a node that reads a parameter by its dotted name, which the module gets to hold."""
    owner, _, attribute = name.rpartition(".")
    held: Mapping[str, nn.Module] = dict(module.named_modules())
    if owner not in held:
        module.add_submodule(owner, nn.Module())
    module.get_submodule(owner).register_parameter(attribute, weight)
    with module.graph.inserting_before(before):
        node = module.graph.get_attr(name)
    inherit(node, before)
    node.meta["val"] = value_of(before).t()
    return node
