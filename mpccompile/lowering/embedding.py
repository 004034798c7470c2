"""Look-ups in a table of weights."""

from __future__ import annotations

import torch
from torch import fx

from mpccompile.ir import ops
from mpccompile.lowering.registry import Site, lowers

aten = torch.ops.aten


@lowers(aten.embedding.default)
def lower_embedding(site: Site, weight: fx.Node, ids: fx.Node, *_: object) -> fx.Node:
    """Rows of ``weight`` at ``ids``; the padding row is a row like any other when nothing is trained."""
    return site.call(ops.embedding, ids, weight)
