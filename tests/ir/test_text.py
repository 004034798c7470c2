"""A program prints the same on each run and each machine."""

from __future__ import annotations

import re

from torch.nn import functional

from mpccompile.capture.from_torch import capture
from mpccompile.ir.text import to_text
from mpccompile.lowering.lower import lower
from tests.lowering.programs import lowered, seeded
from tests.models import bert


def test_a_line_holds_name_type_secrecy_call_and_origin():
    program = lowered(lambda x, w: functional.linear(x, w).view(-1), seeded(2, 3), w=seeded(4, 3))
    lines = to_text(program).splitlines()
    assert lines[0] == "program Function"
    assert "%x: f32[2, 3] secret = input x" in lines
    assert "%w: f32[4, 3] secret = attribute w" in lines
    call = next(line for line in lines if "= linear(" in line)
    assert re.fullmatch(r"%linear_1: f32\[2, 4\] secret = linear\(%x, %w\)  # <model> \(programs.py:\d+\)", call)
    assert lines[-1] == "return [%reshape]"


def test_the_text_is_the_same_twice_and_names_no_machine():
    first, second = (to_text(lower(capture(*bert(padding_mask=True)))) for _ in range(2))
    assert first == second
    assert "/" not in first
    assert "0x" not in first
    assert "public = aten.__and__.Tensor(" in first
