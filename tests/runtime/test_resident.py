"""What stays with a party is what was put there, and no mask of it serves twice."""

from __future__ import annotations

import pytest
import torch

from mpccompile.errors import DealerError, MpcCompileError
from mpccompile.runtime.plan import Step
from mpccompile.runtime.prg import Prg
from mpccompile.runtime.resident import Residents
from mpccompile.runtime.row_masks import GROWTH_ROWS, HELD, NEXT, RowMasks


def rows(count, value):
    return torch.full((1, 2, count, 3), value)


def test_rows_are_appended_and_those_not_put_are_zero():
    held = Residents()
    held.put("key_0", rows(2, 5), 0)
    assert held.get("key_0", (1, 2, 4, 3))[0, 0, :, 0].tolist() == [5, 5, 0, 0]
    held.put("key_0", rows(1, 7), 2)
    assert held.get("key_0", (1, 2, 4, 3))[0, 1, :, 2].tolist() == [5, 5, 7, 0]


def test_a_new_text_replaces_the_last_one():
    held = Residents()
    held.put("key_0", rows(4, 5), 0)
    held.begin()
    held.put("key_0", rows(1, 7), 0)
    assert held.get("key_0", (1, 2, 4, 3))[0, 0, :, 0].tolist() == [7, 0, 0, 0]


def test_the_first_call_of_a_text_finds_no_row_and_may_put_the_first():
    held = Residents()
    assert not held.get("key_0", (1, 2, 4, 3)).any()
    assert not held.get("value_0", (1, 2, 4, 3)).any()
    held.put("key_0", rows(1, 7), 0)
    held.put("value_0", rows(1, 8), 0)
    assert held.get("key_0", (1, 2, 4, 3))[0, 0, :, 0].tolist() == [7, 0, 0, 0]


def test_what_does_not_fit_is_refused():
    held = Residents()
    held.put("key_0", rows(2, 5), 0)
    with pytest.raises(MpcCompileError, match="no earlier call"):
        held.get("value_0", (1, 2, 4, 3))
    with pytest.raises(MpcCompileError, match="no earlier call"):
        held.get("key_0", (1, 2, 1, 3))
    for first in (0, 1, 3):
        with pytest.raises(MpcCompileError, match="do not follow"):
            held.put("key_0", rows(1, 7), first)
    held.put("key_0", rows(2, 7), 2)
    with pytest.raises(MpcCompileError, match="no earlier call"):
        held.get("key_0", (1, 2, 3, 3))


def test_rows_that_nobody_has_read_yet_may_begin_late_and_grow():
    held = Residents()
    held.put("key_0", rows(3, 5), 0)
    for place in range(3, 9):
        held.put("chosen", rows(1, place), place)
    assert held.get("chosen", (1, 2, 9, 3))[0, 0, :, 0].tolist() == [0, 0, 0, 3, 4, 5, 6, 7, 8]
    assert held.get("chosen", (1, 2, 12, 3))[0, 1, :, 0].tolist() == [0, 0, 0, 3, 4, 5, 6, 7, 8, 0, 0, 0]


def step(which, count, name="key_0"):
    return Step("row_mask", (1, 2, count, 3), params=(name, which))


def masks(text=1):
    return RowMasks(Prg(b"s" * 32).spawn(f"text {text}"))


@pytest.mark.parametrize("filled", [0, 1, 3])
def test_a_mask_of_a_new_row_is_handed_out_once(filled):
    text = masks()
    text.share(step(NEXT, 2), 0)
    with pytest.raises(DealerError, match="used twice"):
        text.share(step(NEXT, 1), filled)
    text.share(step(NEXT, 1), 2)


def test_held_rows_have_the_masks_they_were_put_under_and_rows_not_put_have_none():
    text = masks()
    first, second = text.share(step(NEXT, 2), 0), text.share(step(NEXT, 1), 2)
    held = text.share(step(HELD, 6), 3)
    assert torch.equal(held[..., :3, :], torch.cat([first, second], -2))
    assert not held[..., 3:, :].any()
    assert torch.equal(text.share(step(HELD, 9), 3)[..., :3, :], held[..., :3, :])


def test_rows_that_begin_late_have_no_masks_before_and_keep_theirs_when_others_go_on():
    text = masks()
    late = text.share(step(NEXT, 1, "chosen"), 4)
    held = text.share(step(HELD, 6, "chosen"), 9)
    assert torch.equal(held[..., 4:5, :], late)
    assert not held[..., :4, :].any()
    assert not held[..., 5:, :].any()
    with pytest.raises(DealerError, match="used twice"):
        text.share(step(NEXT, 1, "chosen"), 4)


def test_parties_and_dealer_expand_the_same_however_they_ask():
    long, short = masks(), masks()
    count = 2 * GROWTH_ROWS
    whole = long.share(step(NEXT, count), 0)
    parts = [short.share(step(NEXT, 1), place) for place in range(count)]
    # A stream that grows by blocks has the same rows as one that was asked for all at once.
    assert torch.equal(torch.cat(parts, -2), whole)


def test_each_row_of_each_text_and_name_has_a_mask_of_its_own():
    words = [masks(text).share(step(NEXT, 70, name), 0).flatten() for text in (1, 2) for name in ("key_0", "value_0")]
    assert len(torch.cat(words).unique()) == 4 * 70 * 6
