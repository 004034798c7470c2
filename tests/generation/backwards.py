"""A tiny T5 that has learnt to write its source backwards, and what it writes itself."""

from __future__ import annotations

import functools

import torch
from transformers import T5Config, T5ForConditionalGeneration

VOCABULARY, LENGTH, NEW_TOKENS = 40, 7, 9
FIRST = 5
"""Ids below are not drawn: padding, the end, and the like."""


@functools.cache
def model_of(tied=True):
    """A tiny T5 that has learnt to write a source backwards, so that its answer is no toss-up."""
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=32,
        d_kv=16,
        d_ff=64,
        num_layers=2,
        num_heads=2,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=12,
        dropout_rate=0.0,
        decoder_start_token_id=0,
        tie_word_embeddings=tied,
    )
    config.loss_type = "ForMaskedLM"
    model = T5ForConditionalGeneration(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _step in range(150):
        ids = sources(16)
        labels = torch.cat([ids.flip(1), torch.ones(16, 1, dtype=torch.long)], 1)
        optimizer.zero_grad()
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
    return model.eval()


def sources(count, seed=None):
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return torch.randint(FIRST, VOCABULARY, (count, LENGTH), generator=generator)


def greedy(model, ids, new_tokens, mask=None, **choices):
    mask = torch.ones_like(ids) if mask is None else mask
    choices = {"eos_token_id": None, **choices}
    return model.generate(ids, attention_mask=mask, max_new_tokens=new_tokens, do_sample=False, **choices)
