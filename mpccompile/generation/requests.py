"""What can be asked of a generation, whichever way it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpccompile.capture.cached import check_causal
from mpccompile.errors import InputError, OptionError

if TYPE_CHECKING:
    from torch import Tensor

    from mpccompile.generation.choices import Choices
    from mpccompile.generation.generate import Recipe


def check_compilable(recipe: Recipe) -> None:
    """Refuse models and options that no text can be continued with.

    Raises:
        CaptureFailed: If the model is no decoder with a cache.
        OptionError: If an option has no private generation.
    """
    check_causal(recipe.model)
    check_options(recipe)


def check_options(recipe: Recipe) -> None:
    """Refuse options that no generation can be compiled for.

    Raises:
        OptionError: If an option has no private generation.
    """
    if recipe.options.target != "mpccompile":
        raise OptionError(
            f"target={recipe.options.target!r} has no private generation",
            where="option target",
            hint="Leave the option out.",
        )
    if recipe.options.truncation != "exact":
        raise OptionError(
            "generation truncates exactly: what a wrong truncation leaves in the cache would stay in it",
            where="option truncation",
            hint="Leave the option out.",
        )


def check_prompt(recipe: Recipe, ids: Tensor, choices: Choices) -> None:
    """Refuse prompts that cannot be continued, before anything runs.

    Raises:
        InputError: If the prompt is empty or too long, or an id is outside the vocabulary.
        OptionError: If a choice is of models with an encoder.
    """
    if choices.decoder_start_token_id is not None:
        raise OptionError(
            "a model without an encoder has no start token: its texts begin with the prompt",
            where="argument decoder_start_token_id",
            hint="Leave it out.",
        )
    check_ids(ids, recipe.setting("vocab_size"))
    most = recipe.setting("max_position_embeddings")
    if most is not None and ids.shape[1] + choices.max_new_tokens > most:
        raise InputError(
            f"a prompt of {ids.shape[1]} tokens and {choices.max_new_tokens} new ones are more than the {most}"
            " positions of the model",
            where="arguments input_ids and max_new_tokens",
            hint="Shorten the prompt, or ask for fewer tokens.",
        )


def check_padding(recipe: Recipe, ids: Tensor, mask: Tensor | None) -> None:
    """Refuse ids of padding without a mask: transformers would hide them, and as text they would be read.

    Raises:
        InputError: If there are any; ids that end a text are no padding.
    """
    check_padded(padding_of(recipe), ids, mask)


def padding_of(recipe: Recipe) -> int | None:
    """Return the id that a model's texts are padded with, or None where it has none, or texts end with it."""
    padding, ends = recipe.setting("pad_token_id"), getattr(recipe.model.config, "eos_token_id", None)
    return None if padding in (ends if isinstance(ends, list) else [ends]) else padding


def check_padded(padding: int | None, ids: Tensor, mask: Tensor | None) -> None:
    """Refuse ids of padding without a mask, where it is known what they are.

    Raises:
        InputError: If there are any.
    """
    if mask is None and padding is not None and bool((ids == padding).any()):
        raise InputError(
            f"some ids are padding ({padding}), and nothing says whether they are to be read",
            where="argument attention_mask",
            hint="Give the tokenizer's attention_mask.",
        )


def check_ids(ids: Tensor, vocabulary: int | None) -> None:
    """Refuse ids outside the vocabulary.

    Raises:
        InputError: If there is one.
    """
    if vocabulary is not None and not 0 <= int(ids.min()) <= int(ids.max()) < vocabulary:
        raise InputError(
            f"an id is outside the vocabulary of {vocabulary} tokens",
            where="argument input_ids",
            hint="Use the tokenizer that belongs to the model.",
        )


def check_for_package(ids: Tensor, choices: Choices, vocabulary: int | None, rows: int) -> None:
    """Refuse a prompt that a package of texts of up to ``rows`` tokens cannot continue.

    Raises:
        InputError: If it is empty, too long or more than one, or an id is outside the vocabulary.
    """
    check_ids(ids, vocabulary)
    if ids.shape[0] != 1:
        raise InputError("a package writes one text at a time", where="argument input_ids", hint="Give one row.")
    if ids.shape[1] + choices.max_new_tokens > rows:
        raise InputError(
            f"a prompt of {ids.shape[1]} tokens and {choices.max_new_tokens} new ones are more than the {rows} that the"
            " package was compiled for",
            where="arguments input_ids and max_new_tokens",
            hint="Shorten the prompt, ask for fewer tokens, or compile it with a larger --generate.",
        )


def check_rows(recipe: Recipe, rows: int) -> None:
    """Refuse to compile a package of texts that the model has no room for, or that nothing can be calibrated on.

    Raises:
        OptionError: If there are no example prompts, or the model has fewer positions.
    """
    if not recipe.examples:
        raise OptionError("generation is calibrated on example prompts, and there are none", hint="Give some.")
    most = recipe.setting("max_position_embeddings")
    if not 1 < rows <= (rows if most is None else most):
        raise OptionError(f"a text of {rows} tokens does not fit the model's {most} positions")
