"""What may be a prompt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor

from mpccompile.errors import InputError


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
