"""The demo's model: a small BERT, trained from scratch on the training snippets in about half a minute."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpccompile.demo.snippets import SEQUENCE_LENGTH, SnippetSet, train_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import BertForSequenceClassification, PreTrainedTokenizerFast

TRAINING_STEPS = 200
BATCH_SIZE = 64
LEARNING_RATE = 2e-3
WARMUP_SHARE = 0.1
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1
GRADIENT_NORM = 1.0
# The training files are few, and held-out files use other words: hiding words keeps the model from relying on any one.
HIDDEN_WORD_SHARE = 0.15

HEADS = 4


@dataclass(frozen=True)
class Size:
    """How large a model is.

    Attributes:
        hidden: Numbers per token.
        layers: Transformer layers; a feed-forward layer is twice as wide as a token.
    """

    hidden: int = 128
    layers: int = 2


DEMO_SIZE = Size()


@dataclass(frozen=True)
class Classifier:
    """A trained model and what belongs to it.

    Attributes:
        model: Takes ``input_ids`` and ``attention_mask``; in evaluation mode.
        tokenizer: Trained on the training snippets.
        snippets: The classes, the training snippets and the held-out ones.
        seconds: How long the training took.
    """

    model: BertForSequenceClassification
    tokenizer: PreTrainedTokenizerFast
    snippets: SnippetSet
    seconds: float

    def encode(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Return the model's inputs for ``texts``, padded to one length."""
        return encode(self.tokenizer, texts)


def encode(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return ``input_ids`` and ``attention_mask`` of shape (texts, ``SEQUENCE_LENGTH``)."""
    encoded = tokenizer(
        list(texts), padding="max_length", truncation=True, max_length=SEQUENCE_LENGTH, return_tensors="pt"
    )
    return {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}


def train_classifier(
    snippets: SnippetSet,
    *,
    steps: int = TRAINING_STEPS,
    seed: int = 0,
    size: Size = DEMO_SIZE,
    on_step: Callable[[float], None] | None = None,
) -> Classifier:
    """Train a tokenizer and a classifier on the training snippets.

    Args:
        snippets: The data.
        steps: Optimizer steps.
        seed: Chooses the first weights and the batches; the caller's random state is left as it was.
        size: How large the model is.
        on_step: Called after every step with the loss.
    """
    import torch

    start = time.perf_counter()
    tokenizer = train_tokenizer(snippet.text for snippet in snippets.train)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(len(tokenizer), len(snippets.classes), size)
        _fit(model, _batches(tokenizer, snippets, steps), steps, on_step)
    model.eval()
    return Classifier(model, tokenizer, snippets, time.perf_counter() - start)


def build_model(vocabulary_size: int, classes: int, size: Size = DEMO_SIZE) -> BertForSequenceClassification:
    """Return a BERT with random weights; token 0 is padding."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=vocabulary_size,
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=HEADS,
        intermediate_size=2 * size.hidden,
        hidden_dropout_prob=0.2,
        attention_probs_dropout_prob=0.2,
        max_position_embeddings=SEQUENCE_LENGTH,
        type_vocab_size=1,
        pad_token_id=0,
    )
    config.num_labels = classes
    return BertForSequenceClassification(config)


def predict(classifier: Classifier, texts: Sequence[str]) -> torch.Tensor:
    """Return the plaintext logits of shape (texts, classes)."""
    import torch

    with torch.no_grad():
        parts = [
            classifier.model(**classifier.encode(texts[start : start + BATCH_SIZE])).logits
            for start in range(0, len(texts), BATCH_SIZE)
        ]
    return torch.cat(parts)


def _batches(
    tokenizer: PreTrainedTokenizerFast, snippets: SnippetSet, steps: int
) -> Iterator[tuple[dict[str, torch.Tensor], torch.Tensor]]:
    """Draw batches in which every class is as likely as the others, with some words hidden."""
    import torch

    inputs = encode(tokenizer, [snippet.text for snippet in snippets.train])
    labels = torch.tensor([snippet.label for snippet in snippets.train])
    weights = 1.0 / torch.bincount(labels).float()[labels]
    special = torch.tensor(tokenizer.all_special_ids)
    hidden = int(tokenizer.mask_token_id)
    for _ in range(steps):
        chosen = torch.multinomial(weights, BATCH_SIZE)
        ids = inputs["input_ids"][chosen]
        hide = (torch.rand(ids.shape) < HIDDEN_WORD_SHARE) & ~torch.isin(ids, special)
        batch = {"input_ids": ids.masked_fill(hide, hidden), "attention_mask": inputs["attention_mask"][chosen]}
        yield batch, labels[chosen]


def _fit(
    model: BertForSequenceClassification,
    batches: Iterator[tuple[dict[str, torch.Tensor], torch.Tensor]],
    steps: int,
    on_step: Callable[[float], None] | None,
) -> None:
    """Train ``model`` in place with AdamW, a short warm-up and a cosine decay."""
    import torch
    from torch.nn import functional

    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=steps, pct_start=WARMUP_SHARE, cycle_momentum=False
    )
    model.train()
    for batch, labels in batches:
        loss = functional.cross_entropy(model(**batch).logits, labels, label_smoothing=LABEL_SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
        optimizer.step()
        schedule.step()
        if on_step is not None:
            on_step(loss.item())
