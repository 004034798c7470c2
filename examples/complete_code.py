"""Train a small GPT-2 on Python's own sources, then let it complete code that it never sees.

Run it with: python examples/complete_code.py
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

import mpccompile
from mpccompile.demo.snippets import build_snippets

CHARACTERS, POSITIONS, BATCH_SIZE = 128, 128, 16


def encode(text: str) -> Tensor:
    """Return a text as ids, one for each character: [1, T]."""
    return torch.tensor([[min(ord(character), CHARACTERS - 1) for character in text]])


def decode(ids: Tensor) -> str:
    """Return ids [T] as text."""
    return "".join(map(chr, ids.tolist()))


def train(source: Tensor, steps: int) -> GPT2LMHeadModel:
    """Return a GPT-2 that has read windows of the source [T] for so many steps."""
    config = GPT2Config(
        vocab_size=CHARACTERS, n_embd=96, n_layer=2, n_head=4, n_positions=POSITIONS, bos_token_id=0, eos_token_id=0
    )
    config.loss_type = "ForCausalLM"
    torch.manual_seed(0)
    model = GPT2LMHeadModel(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        starts = torch.randint(0, len(source) - POSITIONS, (BATCH_SIZE,)).tolist()
        batch = torch.stack([source[start : start + POSITIONS] for start in starts])
        optimizer.zero_grad()
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
    model.eval()
    return model


def plain_greedy(model: GPT2LMHeadModel, prompt: Tensor, new_tokens: int) -> Tensor:
    """Return what the plain model adds to a prompt [1, T], taking the likeliest character each time."""
    ids = prompt
    with torch.no_grad():
        for _ in range(new_tokens):
            ids = torch.cat([ids, model(input_ids=ids).logits[:, -1:].argmax(-1)], dim=1)
    return ids


class Typewriter:
    """Shows each character as soon as the client has it."""

    def put(self, value: Tensor) -> None:
        """Print ids: those of the prompt [1, T] first, then one after the other."""
        sys.stdout.write(decode(value.flatten()))
        sys.stdout.flush()

    def end(self) -> None:
        """End the line."""
        sys.stdout.write("\n")


def main(training_steps: int = 250, new_tokens: int = 48) -> tuple[str, str]:
    """Return what was completed privately, and what the plain model makes of the same prompt."""
    snippets = build_snippets()
    model = train(encode("\n\n".join(snippet.text for snippet in snippets.train))[0], training_steps)
    prompt = encode(snippets.test[0].text[:40])

    # Ranges are calibrated on code that the model's owner has, continued by the model itself.
    examples = [{"input_ids": encode(snippet.text[: prompt.shape[1]])} for snippet in snippets.train[:6]]
    with mpccompile.compile(model, example_inputs=examples) as private:
        text = private.generate(prompt, max_new_tokens=new_tokens, streamer=Typewriter())
        print(f"What the last character took:\n{private.report()}")

    return decode(text[0]), decode(plain_greedy(model, prompt, new_tokens)[0])


if __name__ == "__main__":
    found, expected = main()
    print("The plain model writes the same." if found == expected else f"The plain model writes:\n{expected}")
