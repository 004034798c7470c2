"""What the two programs of a generation are calibrated on: texts that the plain model continues itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from mpccompile.capture.cached import ROW_AXIS, ReadPrompt
from mpccompile.capture.from_torch import as_for_inference
from mpccompile.merge.reuse import StartText

PUBLIC = ("input_ids", "position_ids", "attention_mask")
"""What the program that reads a token takes besides the cache."""
PLACES = 12
"""How many positions spread over each text calibrate the program that reads a token."""
FROM_THE_END = (1, 2, 3, 5, 8, 13, 21, 31)
"""More positions that do, by their distance from the last: the model has added up to 32 tokens there, and those are the
ones that the program will read. The first after a prompt may be like none in it."""


def continued(model: nn.Module, prompts: Sequence[Tensor], new_tokens: int) -> list[Tensor]:
    """Return each prompt [B, T] with the plain model's likeliest continuation, [B, T + new_tokens]."""
    texts = []
    with as_for_inference(model):
        for prompt in prompts:
            ids = prompt
            for _ in range(new_tokens):
                ids = torch.cat([ids, model(input_ids=ids).logits[:, -1:].argmax(-1)], dim=1)
            texts.append(ids)
    return texts


def prompts_of(texts: Sequence[Tensor], shape: Sequence[int]) -> Iterator[dict[str, Tensor]]:
    """Cut texts of T tokens or more into prompts of a shape (B, T): each text's start, and its end."""
    for ids in _batches(texts, shape[0]):
        yield {"input_ids": ids[:, : shape[1]]}
        yield {"input_ids": ids[:, -shape[1] :]}


def _batches(texts: Sequence[Tensor], size: int) -> Iterator[Tensor]:
    """Cut batches of texts into batches of a size; the last one starts over to be full."""
    for ids in texts:
        count = ids.shape[0]
        for start in range(0, count, size):
            yield ids[(start + torch.arange(size)) % count]


def token_inputs(token: Tensor, length: int, capacity: int) -> dict[str, Tensor]:
    """Return what the program that reads a token takes besides the cache.

    Args:
        token: The ids [B, 1].
        length: How many tokens came before.
        capacity: Rows of the cache.
    """
    mask = torch.zeros(token.shape[0], capacity + 1, dtype=torch.long)
    mask[:, :length] = 1
    mask[:, -1] = 1
    return {
        "input_ids": token,
        "position_ids": torch.full((token.shape[0], 1), length),
        "attention_mask": mask,
    }


def tokens_of(
    model: nn.Module, texts: Sequence[Tensor], batch: int, capacity: int, first: int = 1
) -> Iterator[dict[str, Tensor]]:
    """Yield inputs of the program that reads a token, at places spread over each text, from place ``first`` on."""
    for ids, held, place in _places(ReadPrompt(model), texts, batch, capacity, first):
        cache = {name: value for name, value in held.items() if name != "logits"}
        yield {**token_inputs(ids[:, place : place + 1], place, capacity), **filled(cache, place, capacity)}


def hidden_tokens_of(model: nn.Module, texts: Sequence[Tensor], capacity: int) -> Iterator[dict[str, Tensor]]:
    """Yield inputs of the program that reads a token of one text for its hidden state, at places spread over each."""
    for ids, held, place in _places(ReadPrompt(model), texts, 1, capacity, 0):
        cache = {name: value for name, value in held.items() if name != "logits"}
        public = token_inputs(ids[:, place : place + 1], place, capacity)
        if not any(name.startswith("key_") for name in cache):
            # Constant attention weighs by position alone.
            del public["attention_mask"]
        yield {**public, **filled(cache, place, capacity)}


def choices_of(model: nn.Module, texts: Sequence[Tensor], batch: int, capacity: int) -> Iterator[dict[str, Tensor]]:
    """Yield inputs of the program that picks a token and reads it, at places spread over each text."""
    for ids, held, place in _places(StartText(model), texts, batch, capacity, 1):
        public = token_inputs(ids[:, place : place + 1], place, capacity)
        del public["input_ids"]
        yield {**public, **filled(held, place, capacity)}


def _places(
    reader: nn.Module, texts: Sequence[Tensor], batch: int, capacity: int, first: int
) -> Iterator[tuple[Tensor, dict[str, Tensor], int]]:
    """Yield texts, what reading them leaves, and places spread over them, the last of each text first."""
    for ids in _batches(texts, batch):
        last = min(ids.shape[1] - 1, capacity)
        with as_for_inference(reader):
            held = reader(ids[:, :last])
        for place in places_over(first, last):
            yield ids, held, place


def places_over(first: int, last: int) -> list[int]:
    """Return places from ``first`` to ``last``, spread, and closer to each other at the end; the last comes first."""
    spread = {round(at) for at in torch.linspace(last, first, PLACES).tolist()}
    return sorted(spread | {last - back for back in FROM_THE_END if last - back >= first}, reverse=True)


def filled(cache: Mapping[str, Tensor], length: int, capacity: int) -> dict[str, Tensor]:
    """Return caches of so many rows, the first ``length`` of them filled."""
    caches = {}
    for name, value in cache.items():
        shape = list(value.shape)
        shape[ROW_AXIS] = capacity
        caches[name] = torch.zeros(shape)
        caches[name][..., :length, :] = value[..., :length, :]
    return caches
