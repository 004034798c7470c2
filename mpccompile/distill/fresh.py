"""A model of the same architecture that knows nothing."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

# As BERT, GPT-2 and ViT draw their weights.
_DEVIATION = 0.02

Model = TypeVar("Model", bound=nn.Module)


def with_random_weights(model: Model, seed: int) -> Model:
    """Return a copy of a model with the weights it would have before any training.

    A transformers model is made again from its config. Of others, each module draws its own (``reset_parameters``);
    parameters that no module draws are normal with deviation 0.02, their biases 0 and their scales 1.

    Args:
        model: It is left as it was.
        seed: Of the weights; the caller's random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if hasattr(model, "config") and hasattr(model, "init_weights"):
            return type(model)(copy.deepcopy(model.config)).train(model.training)
        fresh = copy.deepcopy(model)
        drawn = set()
        for module in fresh.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
                drawn |= {id(weight) for weight in module.parameters(recurse=False)}
        for name, weight in fresh.named_parameters():
            if id(weight) not in drawn:
                _draw(name.rpartition(".")[2], weight)
    return fresh


def _draw(name: str, weight: nn.Parameter) -> None:
    if weight.dim() > 1:
        nn.init.normal_(weight, std=_DEVIATION)
    elif name.endswith("bias"):
        nn.init.zeros_(weight)
    else:
        nn.init.ones_(weight)
