"""Look-ups at secret or public ids."""

from __future__ import annotations

import torch
from torch.nn import functional

from mpccompile.capture.from_torch import capture
from mpccompile.lowering.lower import lower
from mpccompile.options import Options
from tests.lowering.programs import calls, lowered, seeded

IDS, TABLE = torch.tensor([[1, 2], [4, 0]]), seeded(5, 3)


def test_ids_may_be_secret_or_public():
    assert calls(lowered(functional.embedding, IDS, weight=TABLE)) == {"embedding": 1}
    assert calls(lowered(functional.embedding, IDS, public="x", weight=TABLE)) == {"embedding": 1}


def test_a_public_table_is_no_secret():
    model = torch.nn.Embedding(5, 3, padding_idx=0)
    program = lower(capture(model, (IDS,), Options(embedding="public")))
    assert not program.secret_attributes
    assert calls(program) == {"embedding": 1}
