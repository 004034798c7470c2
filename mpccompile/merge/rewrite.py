"""Models with merged layers: how they are made to be trained, and to be compiled."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from mpccompile.errors import CaptureFailed, OptionError
from mpccompile.merge.constant_attention import Affine, ConstantAttention
from mpccompile.merge.families import Family, family_of
from mpccompile.merge.merge_module import MergeModule, folded
from mpccompile.merge.mixing import FixedMatrix, TrainedMatrix

if TYPE_CHECKING:
    from mpccompile.merge.extract import Averages

FORMS = ("residual", "mix-first")
NORMS = ("exact", "affine")


@dataclass(frozen=True)
class MergeConfig:
    """How layers are merged.

    Attributes:
        form: ``"residual"``, the form that MERGE trains: residuals and LayerNorm stay, heads are mixed after W_V.
            ``"mix-first"``, the form that it draws: six operations a layer, heads mixed on the layer's input.
        first_norm: In the residual form, whether the norm before the attention stays ``"exact"`` or becomes an
            ``"affine"``, as MERGE's code has it, which starts from the teacher's average deviation.
    """

    form: Literal["residual", "mix-first"] = "residual"
    first_norm: Literal["exact", "affine"] = "exact"

    def __post_init__(self) -> None:
        for name, allowed in (("form", FORMS), ("first_norm", NORMS)):
            if getattr(self, name) not in allowed:
                raise OptionError(
                    f"{name}={getattr(self, name)!r} is not a choice", hint=f"Use one of {', '.join(allowed)}."
                )


RESIDUAL = MergeConfig()


def merged(model: Any, averages: Averages, config: MergeConfig = RESIDUAL) -> Any:
    """Return a copy of a decoder whose layers attend by constant matrices, to be trained.

    It is of the model's own class, with the same config, embeddings, last norm and head, and is called as the model is.
    Its weights are copies; the activation stays the model's own, and ``gelu="quad"`` replaces it as in any model.

    Args:
        model: A GPT-2, or in the residual form a Llama or Qwen2; it is left as it was.
        averages: What the matrices start from: see :func:`mpccompile.merge.averages`.
        config: Which form.

    Raises:
        CaptureFailed: If the model is of no family that is known here, or has a gate where the form has none.
    """
    family = family_of(model)
    if config.form == "mix-first" and family.feed_forward is None:
        raise CaptureFailed(
            f"a {type(model).__name__} gates its feed-forward part, which the mix-first form cannot fold",
            hint="Use MergeConfig(form='residual').",
        )
    student = _shortened(copy.deepcopy(model), family, int(averages.attention[0].shape[-1]))
    layers = family.layers(student)
    for at, layer in enumerate(list(layers)):
        matrix = TrainedMatrix(averages.attention[at])
        affine = _affine(getattr(layer, family.first_norm), averages.inverse_deviations[at])
        if config.form == "mix-first":
            layers[at] = _module(layer, family, matrix, affine, at)  # type: ignore[index]
            continue
        attention = getattr(layer, family.attention)
        setattr(
            layer, family.attention, ConstantAttention(matrix, family.value(attention), family.output(attention), at)
        )
        if config.first_norm == "affine":
            setattr(layer, family.first_norm, affine)
    return student.train(model.training)


def _shortened(model: Any, family: Family, length: int) -> Any:
    """Leave a model as many positions as its matrices will have."""
    if length < model.config.max_position_embeddings:
        model.config.max_position_embeddings = length
        if family.positions is not None:
            kept = model.get_submodule(family.positions).weight.detach()[:length].clone()
            owner, _, name = family.positions.rpartition(".")
            setattr(model.get_submodule(owner), name, nn.Embedding.from_pretrained(kept, freeze=False))
    return model


def _affine(norm: Any, inverse_deviation: float) -> Affine:
    """Return what a norm does to a value of average deviation and mean 0."""
    weight = norm.weight.detach() * inverse_deviation
    bias = getattr(norm, "bias", None)
    return Affine(weight, torch.zeros_like(weight) if bias is None else bias.detach().clone())


def _module(layer: Any, family: Family, matrix: TrainedMatrix, affine: Affine, at: int) -> MergeModule:
    attention = getattr(layer, family.attention)
    if family.feed_forward is None:
        raise CaptureFailed("the layer has no feed-forward part of two linears")
    parts = family.feed_forward(layer)
    up = folded(affine, family.value(attention), family.output(attention), parts.up)
    return MergeModule(matrix, up, parts.activation, parts.down, getattr(layer, family.second_norm), at)


def deployed(model: Any, *, matrix: Literal["public", "secret"] = "public") -> Any:
    """Return a copy of a merged model to compile: its matrices are fixed, each affine is in the linear after it.

    It answers as the model does, and cannot be trained further.

    Args:
        model: What :func:`merged` made, trained; it is left as it was.
        matrix: Who may know the constant attention: ``"public"``, all parties, and mixing rows opens nothing;
            ``"secret"``, the owner of the weights alone.

    Raises:
        OptionError: If ``matrix`` is no choice, or the model has no constant attention.
    """
    if matrix not in {"public", "secret"}:
        raise OptionError(f"matrix={matrix!r} is not a choice", hint="Use public or secret.")
    ready, family = copy.deepcopy(model), family_of(model)
    found = [part for part in ready.modules() if isinstance(part, ConstantAttention | MergeModule)]
    if not found:
        raise OptionError("the model has no constant attention", hint="Make it with mpccompile.merge.merged.")
    for part in found:
        with torch.no_grad():
            part.matrix = FixedMatrix(part.matrix.rows().contiguous(), public=matrix == "public")
    for layer in family.layers(ready):
        norm = getattr(layer, family.first_norm, None)
        if isinstance(norm, Affine):
            attention = getattr(layer, family.attention)
            attention.value = folded(norm, attention.value)
            setattr(layer, family.first_norm, nn.Identity())
    return ready
