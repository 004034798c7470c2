"""Errors a user can act on: what was wrong, where, and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class MpcCompileError(Exception):
    """Base of every error this package raises on purpose.

    Args:
        what: One sentence saying what is wrong.
        where: Module path and source line, file, or argument name; empty when the sentence says it.
        hint: What the user can do about it.

    Attributes:
        generated: Where text was being generated, the ids [B, T] up to the error; None elsewhere.
    """

    generated: Tensor | None = None

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what = what
        self.where = where
        self.hint = hint
        place = f" at {where}" if where else ""
        advice = f" {hint}" if hint else ""
        super().__init__(f"{what}{place}.{advice}")


class CaptureFailed(MpcCompileError):
    """The model could not be turned into a graph."""


class UnsupportedOp(MpcCompileError):
    """A graph holds operations on secret values that have no private implementation."""


class InputError(MpcCompileError):
    """An input is missing, unknown, or has the wrong shape, dtype or range."""


class OptionError(MpcCompileError):
    """An option has a value that means nothing."""


class PassFailed(MpcCompileError):
    """A pass changed what the model computes, or broke the graph."""


class PackageError(MpcCompileError):
    """A compiled folder is missing files, damaged, edited, or of another version."""


class PartyLost(MpcCompileError):
    """A party or the dealer ended, or could not be reached."""


class RangeExceeded(MpcCompileError):
    """A private value left the range its protocol was built for, so no answer is given."""


class DealerError(MpcCompileError):
    """Correlated randomness is missing or would be used twice."""


class DataError(InputError):
    """A data set does not fit the model that is trained on it."""


class DistillationError(MpcCompileError):
    """Training cannot start, go on or be resumed."""


class Diverged(DistillationError):
    """A number of the training became NaN or infinite.

    Attributes:
        step: Of which step, from 1, over all stages.
    """

    def __init__(self, what: str, *, step: int, where: str = "", hint: str = "") -> None:
        self.step = step
        super().__init__(what, where=where, hint=hint)
