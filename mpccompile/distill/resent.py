"""Reading a text as embedding resending would: from some position on, hidden states in the place of embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

if TYPE_CHECKING:
    from mpccompile.distill.graphs import Probed
    from mpccompile.distill.losses import Values
    from mpccompile.distill.text_sites import TextSites


@dataclass(frozen=True)
class Resending:
    """Runs a student again on what it made of a text.

    Attributes:
        student: Its graph.
        sites: Where it reads and answers.
        scale: What hidden states are multiplied by to be embeddings.
        drawn: Whether each text's first resent position is drawn at random; otherwise it is in the middle.
    """

    student: Probed
    sites: TextSites
    scale: float
    drawn: bool

    def starts(self, hidden: Tensor) -> Tensor:
        """Return where each of the texts of hidden states [N, T, d] goes on by itself, [N, 1]; never at once."""
        count, length = hidden.shape[:2]
        if self.drawn:
            return torch.randint(1, max(2, length), (count, 1)).to(hidden.device)
        return torch.full((count, 1), max(1, length // 2), device=hidden.device)

    def __call__(self, inputs: Mapping[str, Tensor], values: Values, starts: Tensor) -> tuple[Tensor, Values]:
        """Return the answer and inner values where, from ``starts`` on, the last hidden states are embeddings.

        Gradients end at them: what is resent is taken as it is.
        """
        hidden = values[self.sites.hidden].detach() * self.scale
        before = torch.cat([hidden[:, :1], hidden[:, :-1]], 1)
        chosen = (torch.arange(hidden.shape[1], device=hidden.device) >= starts).unsqueeze(-1)
        outputs, again = _Replacing(self.student.module, self.sites.embedded, chosen, before).run(*inputs.values())
        return outputs[self.student.logits].float(), dict(zip(self.student.names, again, strict=True))


class _Replacing(fx.Interpreter):
    """Runs a graph with other values in some places of one node."""

    def __init__(self, module: fx.GraphModule, name: str, chosen: Tensor, values: Tensor) -> None:
        super().__init__(module)
        self._name, self._chosen, self._values = name, chosen, values

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        return torch.where(self._chosen, self._values, result) if n.name == self._name else result
