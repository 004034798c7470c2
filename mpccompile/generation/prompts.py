"""What may be a prompt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from mpccompile.errors import InputError

_IDS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def given_prompts(input_ids: object, attention_mask: object) -> tuple[Tensor, Tensor | None]:
    """Return what a tokenizer made of texts: ids [B, T], int64 on the CPU, and their mask if there is one.

    Raises:
        InputError: If the ids are no such tensor or none at all, or the mask is not one of their shape.
    """
    if isinstance(input_ids, Tensor) and not input_ids.numel():
        # A tokenizer makes floats of an empty text.
        raise InputError(
            "the prompt is empty", where="argument input_ids", hint="Start with at least one token, such as BOS."
        )
    if not isinstance(input_ids, Tensor) or input_ids.dtype not in _IDS or input_ids.dim() != 2:  # noqa: PLR2004
        raise InputError(
            "the prompt is not an integer tensor [batch, tokens]",
            where="argument input_ids",
            hint="Let the tokenizer make it: tokenizer(text, return_tensors='pt').",
        )
    if attention_mask is None:
        return input_ids.cpu().long(), None
    if not isinstance(attention_mask, Tensor) or attention_mask.shape != input_ids.shape:
        raise InputError(
            f"the mask is not a tensor of the prompt's shape {list(input_ids.shape)}",
            where="argument attention_mask",
            hint="Give the one that the tokenizer made with the prompt, or none.",
        )
    return input_ids.cpu().long(), attention_mask.cpu()


def whole(input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Return a prompt none of which is padding.

    Raises:
        InputError: If the mask hides part of it.
    """
    if attention_mask is not None and not bool(attention_mask.bool().all()):
        raise InputError(
            "part of the prompt is padding, and texts that are generated together have to be equally long",
            where="argument attention_mask",
            hint="Generate from each prompt by itself, without padding.",
        )
    return input_ids


def prompts_in(examples: Iterable[Mapping[str, Tensor]]) -> Iterator[Tensor]:
    """Return the token ids of examples without padding."""
    for example in examples:
        mask = example.get("attention_mask")
        if "input_ids" in example and (mask is None or bool(mask.bool().all())):
            yield example["input_ids"]
