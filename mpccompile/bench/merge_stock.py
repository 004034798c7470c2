"""What a text takes with stock CrypTen: its parts are run as programs of their own, caches going in as secret inputs.

That is the baseline that MERGE did not have: a cache, a client that picks the tokens, real LayerNorm, and no softmax
over the vocabulary. A step is run in the middle of the text.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch

import mpccompile
from mpccompile.bench.decoding import token_with_cache
from mpccompile.bench.merge_ours import added
from mpccompile.bench.race import STOCK
from mpccompile.capture.cached import HIDDEN, ReadPrompt, ReadToken
from mpccompile.merge.reuse import NextHidden, StartText, TellTokens
from mpccompile.report.compare import Cost, middle

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mpccompile.bench.merge_text import Text
    from mpccompile.bench.merge_variants import Variant
    from mpccompile.report.profile import Profile


def text_in_stock(variant: Variant, text: Text, repeat: int) -> Cost:
    """Run the prompt, a step and the end of a text, and return what the whole text of all layers takes."""
    model = variant.model(text.config, text.stock_layers, text.length)
    prompt, options = {"input_ids": text.prompt_ids()}, dict(variant.options)
    if not variant.resends:
        inputs = token_with_cache(model, text.prompt_ids(text.middle + 1))
        start = _ran(ReadPrompt(model), prompt, options, text, repeat)
        return added([(start, 1), (_ran(ReadToken(model), inputs, options, text, repeat), text.new_tokens - 1)])
    start = _ran(StartText(model), prompt, options, text, repeat)
    step = _ran(NextHidden(model), _hidden_with_cache(model, text, variant), options, text, repeat)
    ending = {HIDDEN: torch.randn(1, text.length - 1, text.config.n_embd), "position_ids": _new_places(text)}
    return added([(start, 1), (step, text.new_tokens - 1), (_ran(TellTokens(model), ending, {}, text, repeat), 1)])


def _ran(module: nn.Module, inputs: dict[str, Tensor], options: dict[str, Any], text: Text, repeat: int) -> Cost:
    with warnings.catch_warnings():
        # Told in the output: that is how stock CrypTen runs.
        warnings.filterwarnings("ignore", "dealer='insecure-local'", UserWarning)
        with mpccompile.compile(
            module, example_inputs=inputs, target="crypten", dealer="insecure-local", **options
        ) as private:
            found: list[Profile] = []
            for _ in range(repeat):
                private(**inputs)
                found.append(private.last_profile())
    return middle(STOCK, [text.of_all_layers(one, text.stock_layers, STOCK) for one in found])


def _hidden_with_cache(model: nn.Module, text: Text, variant: Variant) -> dict[str, Tensor]:
    """Return the inputs of :class:`NextHidden` in the middle of the text."""
    with torch.no_grad():
        held: dict[str, Tensor] = StartText(model)(text.prompt_ids(text.middle))
    inputs = {HIDDEN: held.pop(HIDDEN), "position_ids": torch.tensor([[text.middle]])}
    if variant.form is None:
        inputs["attention_mask"] = torch.ones(1, text.middle + 1, dtype=torch.long)
    return {**inputs, **held}


def _new_places(text: Text) -> Tensor:
    return torch.arange(text.prompt - 1, text.length - 1).unsqueeze(0)
