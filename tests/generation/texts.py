"""A tiny GPT-2 that knows a little text by heart, so that its greedy answer is not a toss-up."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

TEXT = "def add(a, b):\n    return a + b\n\ndef mul(a, b):\n    return a * b\n\n" * 4
WINDOW, VOCABULARY, POSITIONS = 48, 128, 64


def encoded(text: str) -> Tensor:
    return torch.tensor([[ord(letter) for letter in text]])


def decoded(ids: Tensor) -> str:
    return "".join(map(chr, ids.tolist()))


@functools.cache
def trained() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=2, n_positions=POSITIONS, bos_token_id=0, eos_token_id=0
    )
    config.loss_type = "ForCausalLM"
    model, ids = GPT2LMHeadModel(config), encoded(TEXT)[0]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _step in range(120):
        starts = torch.randint(0, len(ids) - WINDOW, (16,)).tolist()
        batch = torch.stack([ids[start : start + WINDOW] for start in starts])
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def greedy(model: GPT2LMHeadModel, ids: Tensor, new_tokens: int) -> Tensor:
    answer: Tensor = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=new_tokens, do_sample=False, eos_token_id=None
    )
    return answer
