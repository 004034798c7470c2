"""The choices of a training on text."""

from __future__ import annotations

from dataclasses import dataclass

from mpccompile.errors import OptionError


@dataclass(frozen=True)
class TextLoss:
    """What the stage of text minimises: ``(1 - a) * mean(tokens, and what is asked of a teacher) + a * alignment``.

    ``tokens`` is the cross-entropy of the next token; ``alignment`` the mean of ``1 - cos(h_t, Emb(x_(t+1)))``, with h
    the last hidden state and the student's own table: it makes the one fit for the place of the other. MERGE (Liang
    et al., 2024) trains with a = 0.75 and without a term from a teacher. It shakes the embeddings in training:
    ``dropout(Emb(x) + U[-noise, noise])``.

    Attributes:
        alignment: a, from 0 (embeddings will not be reused) to below 1.
        noise: Largest noise on an element of an embedding.
        dropout: Share of the elements that become 0; the others grow, so that the mean stays.
        answers: Whether to learn the teacher's distributions too, softened by ``temperature``: cross-entropy times its
            square (Hinton et al., 2015).
        hidden: Whether to learn the teacher's hidden states too: the squared errors of the first half of its layers.
        temperature: Divides both logits for ``answers``.
        resent: How often a text is read again with, from a random position on, the hidden states of the reading before
            in the place of its embeddings. All readings count alike. MERGE has none of it; it is what a text that goes
            on from hidden states will meet.
        scale: What hidden states are multiplied by to be embeddings, as the model's ``config.reuse_scale``.
    """

    alignment: float = 0.75
    noise: float = 0.0
    dropout: float = 0.0
    answers: bool = False
    hidden: bool = False
    temperature: float = 4.0
    resent: int = 0
    scale: float = 1.0

    def __post_init__(self) -> None:
        for name in ("alignment", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise OptionError(f"{name}={getattr(self, name)} is not a share below 1")
        if self.noise < 0:
            raise OptionError(f"noise={self.noise} is below 0")
        if self.resent < 0:
            raise OptionError(f"resent={self.resent} is below 0")
        for name in ("temperature", "scale"):
            if not getattr(self, name) > 0:
                raise OptionError(f"{name}={getattr(self, name)} is not above 0")

    @property
    def shakes(self) -> bool:
        """Whether embeddings change in training."""
        return self.noise > 0 or self.dropout > 0

    @property
    def asks_teacher(self) -> bool:
        """Whether there is a term that needs a teacher."""
        return self.answers or self.hidden


ALIGNED = TextLoss()
"""Nothing is shaken."""
MERGE_INTENDED = TextLoss(noise=0.75, dropout=0.6)
"""The noise and the dropout that MERGE's paper and scripts name."""
MERGE_EFFECTIVE = TextLoss(noise=0.2, dropout=0.75)
"""What these scripts train with: the noise is given under the name of the dropout, and keeps its default."""
