"""Whether a model reads a token from a cache with room for later ones as it reads a whole text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mpccompile.capture.cached import HIDDEN, ReadOn
from mpccompile.capture.from_torch import as_for_inference
from mpccompile.errors import CaptureFailed
from mpccompile.generation.examples import filled, token_inputs
from mpccompile.merge.reuse import StartText

if TYPE_CHECKING:
    from typing import Any

_TOKENS = 32
_TOLERANCE = 1e-3
"""Of the largest number of a hidden state: float32 differs by 1e-6 of it between the two readings."""


def check_reads_on(model: Any, capacity: int) -> None:
    """Refuse a model that would read other rows of the cache than the filled ones.

    The rows of a text stand in a cache of a fixed size, and what attention may see of it is the mask's to say. Layers
    with a sliding window count back from the end of the cache instead, which is not where the text ends.

    Args:
        model: A causal language model of transformers.
        capacity: Rows of the cache.

    Raises:
        CaptureFailed: If a token's hidden state is another than that of the whole text.
    """
    # Tokens that differ: to a window it is all one which of equal rows it sees.
    ids = (torch.arange(min(capacity + 1, _TOKENS)) % model.get_input_embeddings().weight.shape[0]).unsqueeze(0)
    last = ids.shape[1] - 1
    with as_for_inference(model):
        whole = model.base_model(input_ids=ids).last_hidden_state
        rows = {name: value for name, value in StartText(model)(ids[:, :last]).items() if name != HIDDEN}
        for place in (1, last):
            inputs = token_inputs(ids[:, place : place + 1], place, capacity)
            if not any(name.startswith("key_") for name in rows):
                del inputs["attention_mask"]
            found = ReadOn(model)(**inputs, **filled(rows, place, capacity))[HIDDEN]
            if float((found - whole[:, place]).abs().max()) > _TOLERANCE * float(whole.abs().max()):
                raise CaptureFailed(
                    f"a {type(model).__name__} reads a token otherwise from a cache of {capacity} rows than from the"
                    " text itself",
                    hint="Attention over a sliding window needs one longer than the cache: ask for fewer tokens, or"
                    " use a model that attends to all of its text.",
                )
