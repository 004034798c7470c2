"""Train a classifier of code snippets, then classify on secret shares what it has never seen.

Run it with: python examples/classify_snippets.py
"""

from __future__ import annotations

import torch

import mpccompile
from mpccompile.demo.classifier import train_classifier
from mpccompile.demo.snippets import build_snippets

BATCH_SIZE = 8


def main(training_steps: int = 200, batches: int = 2) -> float:
    """Return the share of held-out snippets whose package is recognised privately."""
    # An ordinary Hugging Face model and tokenizer: BertForSequenceClassification and PreTrainedTokenizerFast.
    snippets = build_snippets()
    trained = train_classifier(snippets, steps=training_steps)
    model, tokenizer = trained.model, trained.tokenizer

    def tokenize(texts: list[str]) -> dict[str, torch.Tensor]:
        return dict(tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt"))

    # Compile with training data, which the model's owner has: its shapes are captured, and the ranges that private
    # values take are measured on it.
    training_texts = [snippet.text for snippet in snippets.train[: 16 * BATCH_SIZE]]
    examples = [tokenize(training_texts[at : at + BATCH_SIZE]) for at in range(0, len(training_texts), BATCH_SIZE)]
    right = 0
    with mpccompile.compile(model, example_inputs=examples) as private:
        for batch in range(batches):
            chosen = snippets.test[batch * BATCH_SIZE : (batch + 1) * BATCH_SIZE]

            # This call is all there is to it: two parties and a dealer start, and only the logits are revealed.
            logits = private(**tokenize([snippet.text for snippet in chosen])).logits

            for snippet, answer in zip(chosen, logits.argmax(dim=1).tolist(), strict=True):
                print(f"{snippet.file}: {snippets.classes[answer]}")
                right += answer == snippet.label
        print(private.report())
    return right / (batches * BATCH_SIZE)


if __name__ == "__main__":
    print(f"{main():.0%} right")
