"""What stays with a party is what was put there, and nothing else."""

from __future__ import annotations

import pytest
import torch

from mpccompile.errors import MpcCompileError
from mpccompile.runtime.resident import Residents
from mpccompile.runtime.shared import Shared


def rows(count, value):
    return Shared(torch.full((1, 2, count, 3), value), 16)


def test_rows_are_appended_and_those_not_put_are_zero():
    held = Residents()
    held.put("key_0", rows(2, 5), 0)
    assert held.get("key_0", (1, 2, 4, 3), 16).share[0, 0, :, 0].tolist() == [5, 5, 0, 0]
    held.put("key_0", rows(1, 7), 2)
    assert held.get("key_0", (1, 2, 4, 3), 16).share[0, 1, :, 2].tolist() == [5, 5, 7, 0]


def test_a_new_text_replaces_the_last_one():
    held = Residents()
    held.put("key_0", rows(4, 5), 0)
    held.put("key_0", rows(1, 7), 0)
    assert held.get("key_0", (1, 2, 4, 3), 16).share[0, 0, :, 0].tolist() == [7, 0, 0, 0]


def test_what_does_not_fit_is_refused():
    held = Residents()
    with pytest.raises(MpcCompileError, match="no earlier call"):
        held.get("key_0", (1, 2, 4, 3), 16)
    held.put("key_0", rows(2, 5), 0)
    with pytest.raises(MpcCompileError, match="no earlier call"):
        held.get("key_0", (1, 2, 1, 3), 16)
    with pytest.raises(MpcCompileError, match="no room"):
        held.put("key_0", rows(1, 7), 2)
