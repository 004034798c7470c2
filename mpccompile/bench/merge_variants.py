"""The models that MERGE (Liang et al., AAAI 2024) compares: GPT-2 with and without each of its two parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from mpccompile.bench.race import SEED
from mpccompile.merge.extract import averages
from mpccompile.merge.rewrite import MergeConfig, deployed, merged

EXACT = "exact"
MERGE = "ER + MM"
_MIX_FIRST = MergeConfig("mix-first")
_RESIDUAL = MergeConfig("residual")


@dataclass(frozen=True)
class Variant:
    """A model, and how it goes on.

    Attributes:
        options: What takes the place of GELU and softmax.
        form: The merge module that takes the place of each layer, if any.
        matrix: Who may know its constant attention.
        resends: Whether hidden states are the next embeddings.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    form: MergeConfig | None = None
    matrix: Literal["public", "secret"] = "public"
    resends: bool = False

    def model(self, config: GPT2Config, layers: int, length: int) -> Any:
        """Return the model with random weights, and constant matrices of ``length`` positions where it has some."""
        changed = GPT2Config(**{**config.to_dict(), "n_layer": layers})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            model = GPT2LMHeadModel(changed).eval()
        if self.form is None:
            return model
        text = torch.randint(config.vocab_size, (1, length), generator=torch.Generator().manual_seed(SEED))
        found = averages(model, [{"input_ids": text}], length)
        return deployed(merged(model, found, self.form), matrix=self.matrix).eval()


VARIANTS: Mapping[str, Variant] = {
    EXACT: Variant(),
    "Quad + 2ReLU": Variant({"gelu": "quad", "softmax": "2relu"}),
    "Quad + 2Quad": Variant({"gelu": "quad", "softmax": "2quad"}),
    "only ER": Variant(resends=True),
    "only MM": Variant(form=_MIX_FIRST),
    MERGE: Variant({"gelu": "quad"}, _MIX_FIRST, resends=True),
    "ER + MM, secret matrix": Variant({"gelu": "quad"}, _MIX_FIRST, "secret", resends=True),
    "ER + MM, with residuals": Variant({"gelu": "quad"}, _RESIDUAL, resends=True),
}
"""The paper's rows, and MERGE with what it leaves open; MM alone keeps GELU, as in the paper."""
