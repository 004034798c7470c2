"""Parties that round differently refuse to work together."""

from __future__ import annotations

import pytest
import torch

from mpccompile.errors import MpcCompileError
from mpccompile.runtime import agreement
from mpccompile.runtime.kernels.waves import Turn

CPU = torch.device("cpu")


def test_the_same_machine_has_one_fingerprint() -> None:
    assert agreement.fingerprint(CPU) == agreement.fingerprint(CPU)
    agreement.expect_same(agreement.fingerprint(CPU), agreement.fingerprint(CPU))


def test_one_unit_in_one_factor_changes_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = agreement.fingerprint(CPU)
    exact = agreement.turn_back
    seen: list[int] = []

    def off_by_one(delta: torch.Tensor, waves: torch.Tensor, turn: Turn, x: torch.Tensor) -> torch.Tensor:
        result = exact(delta, waves, turn, x)
        seen.append(turn.period_bits)
        result[17] += len(seen) == 1
        return result

    monkeypatch.setattr(agreement, "turn_back", off_by_one)
    with pytest.raises(MpcCompileError, match="round floating point differently"):
        agreement.expect_same(honest, agreement.fingerprint(CPU))
