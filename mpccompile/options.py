"""The choices a user can make about a compilation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from mpccompile.errors import OptionError

_CHOICES: dict[str, tuple[str, ...]] = {
    "target": ("mpccompile", "crypten"),
    "dealer": ("process", "insecure-local"),
    "embedding": ("secret", "public"),
    "truncation": ("exact", "local"),
    "stock_forms": ("tanh", "erf"),
    "generation": ("exact", "reuse"),
}
Choice = str | Mapping[str, str] | Sequence[tuple[str, str]]
"""An approximation for all sites, or names by pattern of module paths."""
EVERYWHERE, EXACT = "*", "exact"
REPLACED = ("gelu", "softmax")
"""Functions that an option of their name replaces."""
FEWEST_FRAC_BITS, MOST_FRAC_BITS = 8, 20


@dataclass(frozen=True)
class Options:
    """What to compile for; every field is part of the package's manifest.

    Attributes:
        target: ``"mpccompile"`` runs on this package's protocols; ``"crypten"`` emits stock CrypTen calls.
        tolerance: Largest error of an output, against plaintext float32, that the approximations of one-variable
            functions may add together. Absolute, in the output's own unit.
        frac_bits: Fractional bits of a fixed-point value in the ring Z_2^64.
        range_margin: Factor by which a calibrated range is widened.
        secret: Names of inputs that are secret although they would be public (for example ``attention_mask``).
        public: Names of inputs that are public although they would be secret.
        embedding: ``"public"`` lets the client look up its own token ids in a public table.
        truncation: ``"exact"`` opens one masked value for each truncated one and cannot wrap around; ``"local"`` sends
            nothing, and is wrong by 2^(64 - frac_bits) units with the probability that the report states.
        dealer: ``"process"`` is a separate dealer process; ``"insecure-local"``, for ``target="crypten"`` only, is
            CrypTen's own default, with which rank 0 makes the correlated randomness and could see everything.
        device: ``"cpu"`` or ``"cuda"``, where the parties compute.
        stock_forms: How ``target="crypten"`` writes GELU: ``"tanh"``, valid to 15; or ``"erf"``, which CrypTen's erf
            makes wrong beyond 3.
        gelu: What takes the place of GELU: ``"exact"``, or an approximation that ``mpccompile passes`` lists, which
            changes the model's answers. For some sites only, a mapping from patterns of module paths (as in fnmatch,
            ``"*.layer.0.*"``) to names: of the patterns that match a site the last one counts, and a site that none
            matches stays exact. Kept as pairs of pattern and name.
        softmax: The same for softmax.
        generation: How a text goes on: ``"exact"``, from the token that the client picked; or ``"reuse"``, from the
            last hidden state, which changes the text. Models are trained for it: see :mod:`mpccompile.merge.reuse`.
    """

    target: Literal["mpccompile", "crypten"] = "mpccompile"
    tolerance: float = 1e-3
    frac_bits: int = 16
    range_margin: float = 2.0
    secret: tuple[str, ...] = ()
    public: tuple[str, ...] = ()
    embedding: Literal["secret", "public"] = "secret"
    truncation: Literal["exact", "local"] = "exact"
    dealer: Literal["process", "insecure-local"] = "process"
    device: str = "cpu"
    stock_forms: Literal["tanh", "erf"] = "tanh"
    gelu: Choice = EXACT
    softmax: Choice = EXACT
    generation: Literal["exact", "reuse"] = "exact"

    def __post_init__(self) -> None:
        for name in REPLACED:
            object.__setattr__(self, name, pairs_of(name, getattr(self, name)))
        self._check()

    def chosen(self, function: str) -> tuple[tuple[str, str], ...]:
        """Return the pairs of pattern and approximation for a function of ``REPLACED``; later ones count."""
        return pairs_of(function, getattr(self, function))

    def _check(self) -> None:
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise OptionError(
                    f"{name}={value!r} is not a choice",
                    where=f"option {name}",
                    hint=f"Use one of {', '.join(allowed)}.",
                )
        if self.dealer == "insecure-local" and self.target != "crypten":
            raise OptionError(
                "dealer='insecure-local' exists for target='crypten' only",
                where="option dealer",
                hint="Leave the option out: a dealer of its own runs on this machine.",
            )
        if not re.fullmatch(r"cpu|cuda(:\d+)?", self.device):
            raise OptionError(
                f"device={self.device!r} is not a device", where="option device", hint="Use cpu, cuda or cuda:0."
            )
        if not 0 < self.tolerance < 1:
            raise OptionError(f"tolerance={self.tolerance} is not between 0 and 1", where="option tolerance")
        if not FEWEST_FRAC_BITS <= self.frac_bits <= MOST_FRAC_BITS:
            raise OptionError(
                f"frac_bits={self.frac_bits} is outside {FEWEST_FRAC_BITS}..{MOST_FRAC_BITS}",
                where="option frac_bits",
                hint="16 is right for nearly every model.",
            )
        if self.range_margin < 1:
            raise OptionError(f"range_margin={self.range_margin} is below 1", where="option range_margin")
        both = set(self.secret) & set(self.public)
        if both:
            raise OptionError(f"{', '.join(sorted(both))} cannot be both secret and public", where="options")

    @classmethod
    def merged(cls, base: Options | None, overrides: dict[str, Any]) -> Options:
        """Return ``base`` (or the defaults) with ``overrides`` applied.

        Raises:
            OptionError: If an override names no field, or a value means nothing.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(overrides) - known)
        if unknown:
            choices = ", ".join(sorted(known))
            raise OptionError(f"unknown option {', '.join(unknown)}", hint=f"The options are {choices}.")
        start = base or cls()
        values = {name: overrides.get(name, getattr(start, name)) for name in known}
        for name in ("secret", "public"):
            values[name] = (values[name],) if isinstance(values[name], str) else tuple(values[name])
        return cls(**values)


def pairs_of(function: str, choice: Choice) -> tuple[tuple[str, str], ...]:
    """Return a choice of approximations as pairs of pattern and name.

    Raises:
        OptionError: If it is neither a name, nor a mapping, nor pairs.
    """
    if isinstance(choice, str):
        return ((EVERYWHERE, choice),)
    pairs = tuple(choice.items()) if isinstance(choice, Mapping) else tuple(tuple(pair) for pair in choice)
    if not all(len(pair) == 2 and all(isinstance(part, str) for part in pair) for pair in pairs):  # noqa: PLR2004
        raise OptionError(
            f"{function}={choice!r} names no approximation",
            where=f"option {function}",
            hint="Give a name, or a dict from patterns of module paths to names.",
        )
    return tuple((pattern, name) for pattern, name in pairs)
