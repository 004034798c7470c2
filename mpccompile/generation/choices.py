"""How text is generated: Hugging Face's names for it, and how the client picks a token from the logits it learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol, Self

import torch
from torch import Tensor

from mpccompile.errors import OptionError


class Streamer(Protocol):
    """What is told of ids as they come, as transformers' streamers are: first the prompt, then each step's."""

    def put(self, value: Tensor) -> Any:
        """Take ids: [B, T] of the prompt, then [B]."""

    def end(self) -> Any:
        """Hear that no more will come."""


@dataclass(frozen=True)
class Choices:
    """The arguments of a generation, named as in ``transformers``.

    Attributes:
        max_new_tokens: Most tokens to add.
        do_sample: Whether to draw tokens at random, from torch's own generator; otherwise the likeliest is taken.
        temperature: What logits are divided by before a token is drawn.
        top_k: How many of the likeliest tokens one is drawn from.
        top_p: The likeliest tokens that have this probability together are drawn from.
        eos_token_id: Ids that end a text. A generation that stops for one shows its length to both parties; without
            any it always takes ``max_new_tokens`` steps.
        pad_token_id: What follows the end of a text while others in its batch go on; by default the first end id.
        streamer: Told of every step's ids at once.
        selection: Who sees a token: ``"client"`` learns the logits of each step and picks it; with ``"secret"`` the
            parties find the likeliest on shares, and the client learns the text when it is complete. Such a text always
            takes ``max_new_tokens`` steps, so that its length tells nobody anything; the client cuts it after its end.
    """

    max_new_tokens: int = 20
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    eos_token_id: int | Sequence[int] | None = None
    pad_token_id: int | None = None
    streamer: Streamer | None = None
    selection: Literal["client", "secret"] = "client"

    def __post_init__(self) -> None:
        _expect(self.max_new_tokens >= 1, "max_new_tokens", self.max_new_tokens, "1 or more")
        _expect(self.temperature > 0, "temperature", self.temperature, "a number above 0")
        _expect(self.top_k is None or self.top_k >= 1, "top_k", self.top_k, "1 or more, or None")
        _expect(self.top_p is None or 0 < self.top_p <= 1, "top_p", self.top_p, "above 0 and at most 1, or None")
        _expect(self.selection in ("client", "secret"), "selection", self.selection, "client or secret")
        if self.do_sample and self.selection == "secret":
            raise OptionError(
                "do_sample=True draws from logits that nobody sees with selection='secret'",
                where="argument do_sample",
                hint="Take the likeliest tokens, or let the client select.",
            )

    @classmethod
    def named(cls, values: dict[str, Any]) -> Self:
        """Return the choices of these names.

        Raises:
            OptionError: If a name is unknown, or a value means nothing.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise OptionError(
                f"generate takes no {', '.join(unknown)}", hint=f"Its arguments are input_ids, {', '.join(known)}."
            )
        return cls(**values)

    @property
    def ends(self) -> tuple[int, ...]:
        """The ids that end a text."""
        if self.eos_token_id is None:
            return ()
        return (self.eos_token_id,) if isinstance(self.eos_token_id, int) else tuple(self.eos_token_id)

    def pick(self, logits: Tensor) -> Tensor:
        """Return the next ids [B] from logits [B, V]."""
        if not self.do_sample:
            return logits.argmax(-1)
        scores = logits / self.temperature
        if self.top_k is not None:
            scores = _likeliest(scores, self.top_k)
        if self.top_p is not None:
            scores = _nucleus(scores, self.top_p)
        return torch.multinomial(torch.softmax(scores, -1), 1).squeeze(-1)


def _expect(right: bool, name: str, value: object, wanted: str) -> None:
    if not right:
        raise OptionError(f"{name}={value!r} is not {wanted}", where=f"argument {name}")


def _likeliest(scores: Tensor, count: int) -> Tensor:
    least = scores.topk(min(count, scores.shape[-1])).values[..., -1:]
    return scores.masked_fill(scores < least, -torch.inf)


def _nucleus(scores: Tensor, share: float) -> Tensor:
    """Keep the fewest tokens that have at least ``share`` of the probability, the likeliest always among them."""
    ordered, places = scores.sort(descending=True)
    before = torch.softmax(ordered, -1).cumsum(-1) - torch.softmax(ordered, -1)
    return scores.masked_fill((before >= share).scatter(-1, places, before >= share), -torch.inf)
