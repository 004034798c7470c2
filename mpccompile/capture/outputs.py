"""Which tensors of a model's answer are kept, and how they become the answer's own type again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from mpccompile.errors import CaptureFailed
from mpccompile.ir.program import OutputSpec

# By-products of a transformers model: large, asked for by nobody, and each would be opened to the client.
_BY_PRODUCTS = frozenset(
    {
        "past_key_values",
        "hidden_states",
        "attentions",
        "cross_attentions",
        "encoder_hidden_states",
        "encoder_attentions",
        "decoder_hidden_states",
        "decoder_attentions",
    }
)
# Results of an inner stage, dropped where ``logits`` says what the model was asked for.
_INNER = frozenset({"encoder_last_hidden_state"})


@dataclass(frozen=True)
class Kept:
    """The part of a model's answer that is compiled.

    Attributes:
        spec: How the tensors become the model's own output.
        positions: Where each kept tensor is among all leaves of the answer.
        tensors: The kept tensors, float32.
        leaves: How many leaves the answer has.
    """

    spec: OutputSpec
    positions: tuple[int, ...]
    tensors: tuple[torch.Tensor, ...]
    leaves: int


def keep(answer: object) -> Kept:
    """Choose what to keep of a model's answer.

    A tensor, and every tensor of a tuple or dict, is kept. Of a transformers ModelOutput the by-products (cache, hidden
    states, attentions) are dropped, and ``encoder_last_hidden_state`` too when there are ``logits``. None is dropped.

    Raises:
        CaptureFailed: If the answer is of another type, holds nested collections, or no tensor at all.
    """
    fields = dict(_fields(answer))
    dropped = (_BY_PRODUCTS | (_INNER if "logits" in fields else frozenset())) if _is_model_output(answer) else set()
    keys, positions, tensors, at = [], [], [], 0
    for key, value in fields.items():
        if isinstance(value, torch.Tensor) and key not in dropped:
            keys.append(key)
            positions.append(at)
            tensors.append(value.detach().float())
        elif value is not None and key not in dropped:
            raise CaptureFailed(
                f"The model's output {key!r} is a {type(value).__name__}, not a tensor",
                hint="Return tensors, a tuple of tensors, or a dict of tensors.",
            )
        at += _count_leaves(value)
    if not keys:
        raise CaptureFailed("The model returns no tensor", hint="Return tensors, a tuple or a dict of tensors.")
    return Kept(_spec(answer, tuple(keys)), tuple(positions), tuple(tensors), at)


def _fields(answer: object) -> Iterator[tuple[str, object]]:
    if isinstance(answer, torch.Tensor):
        yield "output", answer
    elif isinstance(answer, Mapping):
        yield from answer.items()
    elif isinstance(answer, (tuple, list)):
        yield from ((str(index), value) for index, value in enumerate(answer))
    else:
        raise CaptureFailed(
            f"The model returns a {type(answer).__name__}", hint="Return tensors, a tuple or a dict of tensors."
        )


def _is_model_output(answer: object) -> bool:
    # Duck typing keeps transformers an optional dependency of the compiler.
    return isinstance(answer, Mapping) and hasattr(answer, "to_tuple")


def _spec(answer: object, keys: tuple[str, ...]) -> OutputSpec:
    if _is_model_output(answer):
        kind = type(answer)
        return OutputSpec("model_output", keys, f"{kind.__module__}:{kind.__qualname__}")
    if isinstance(answer, Mapping):
        return OutputSpec("dict", keys)
    return OutputSpec("tensor" if isinstance(answer, torch.Tensor) else "tuple", keys)


def _count_leaves(value: object) -> int:
    if isinstance(value, Mapping):
        return sum(_count_leaves(item) for item in value.values())
    if isinstance(value, (tuple, list)):
        return sum(_count_leaves(item) for item in value)
    return 1
