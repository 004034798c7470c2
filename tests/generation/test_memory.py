"""A long text takes the memory of its cache, which is there from the start."""

from __future__ import annotations

import torch
from transformers import GPT2Config, GPT2LMHeadModel

import mpccompile

NEW_TOKENS = 192
SETTLED = 64
"""Tokens after which allocators and caches of the parties have what they need."""
MOST_GROWTH_BYTES = 2**21
"""A party of this model holds 0.5 GB; 16 kB kept for each token would be seen."""


class Early:
    """Notes what the parties held at most when the first tokens were written."""

    def __init__(self, private):
        self.private, self.tokens, self.peak_bytes = private, 0, (0, 0)

    def put(self, _value):
        self.tokens += 1
        if self.tokens == SETTLED:
            self.peak_bytes = self.private.last_profile().peak_bytes

    def end(self):
        pass


def test_parties_hold_no_more_at_the_end_of_a_long_text():
    config = GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=2, n_positions=520, bos_token_id=0, eos_token_id=0)
    torch.manual_seed(0)
    model, prompt = GPT2LMHeadModel(config).eval(), torch.tensor([[5, 7, 9]])
    with mpccompile.compile(model) as private:
        early = Early(private)
        text = private.generate(prompt, max_new_tokens=NEW_TOKENS, eos_token_id=None, streamer=early)
        late = private.last_profile().peak_bytes
    assert text.shape == (1, 3 + NEW_TOKENS)
    for before, after in zip(early.peak_bytes, late, strict=True):
        assert after - before < MOST_GROWTH_BYTES
