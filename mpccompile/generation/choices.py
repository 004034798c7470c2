"""How text is generated: Hugging Face's names for it, and how the client picks a token from the logits it learns."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
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
            any it always takes ``max_new_tokens`` steps, whatever the model's config says.
        pad_token_id: What follows the end of a text while others in its batch go on; by default the first end id.
        decoder_start_token_id: What the answers of a model with an encoder start with, which all parties know; by
            default what its config says.
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
    eos_token_id: int | Sequence[int] | Tensor | None = None
    pad_token_id: int | None = None
    streamer: Streamer | None = None
    decoder_start_token_id: int | None = None
    selection: Literal["client", "secret"] = "client"

    def __post_init__(self) -> None:
        new, k, p = self.max_new_tokens, self.top_k, self.top_p
        _expect(_is_whole(new) and new >= 1, "max_new_tokens", new, "a whole number of 1 or more")
        _expect(
            _is_number(self.temperature) and self.temperature > 0, "temperature", self.temperature, "a number above 0"
        )
        _expect(k is None or (_is_whole(k) and k >= 1), "top_k", k, "a whole number of 1 or more, or None")
        _expect(p is None or (_is_number(p) and 0 < p <= 1), "top_p", p, "above 0 and at most 1, or None")
        _expect(self.selection in ("client", "secret"), "selection", self.selection, "client or secret")
        _expect(all(map(_is_whole, self.ends)), "eos_token_id", self.eos_token_id, "an id, a list of ids, or None")
        for name in ("pad_token_id", "decoder_start_token_id"):
            given = getattr(self, name)
            _expect(given is None or _is_whole(given), name, given, "an id, or None")
        told = self.streamer is None or (hasattr(self.streamer, "put") and hasattr(self.streamer, "end"))
        _expect(told, "streamer", self.streamer, "a streamer as those of transformers, or None")
        if not self.do_sample and (self.temperature != 1 or k is not None or p is not None):
            warnings.warn(
                "temperature, top_k and top_p do nothing without do_sample=True: the likeliest token is taken",
                stacklevel=5,
            )
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

    @classmethod
    def of_package(cls, values: dict[str, Any]) -> Self:
        """Return the choices of these names, of which a package is compiled for ``selection`` alone.

        Raises:
            OptionError: If there is another, or it means nothing.
        """
        others = sorted(set(values) - {"selection"})
        if others:
            raise OptionError(
                f"a package of texts is compiled without {', '.join(others)}",
                hint="Give it to generate; the token that answers start with is the one in the model's config.",
            )
        return cls.named(values)

    @property
    def ends(self) -> tuple[int, ...]:
        """The ids that end a text."""
        found = self.eos_token_id.tolist() if isinstance(self.eos_token_id, Tensor) else self.eos_token_id
        if found is None:
            return ()
        return tuple(found) if isinstance(found, Sequence) else (found,)

    def pick(self, logits: Tensor) -> Tensor:
        """Return the next ids [B] from logits [B, V]."""
        if not self.do_sample:
            return logits.argmax(-1)
        # A small temperature makes all but the likeliest -inf, and no score inf.
        scores = (logits - logits.amax(-1, keepdim=True)) / self.temperature
        if self.top_k is not None:
            scores = _likeliest(scores, self.top_k)
        if self.top_p is not None and self.top_p < 1:
            scores = _nucleus(scores, self.top_p)
        return torch.multinomial(torch.softmax(scores, -1), 1).squeeze(-1)


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


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
