"""Tiny models with random weights, one per family the compiler must take; made from configs, nothing is downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    RobertaConfig,
    RobertaForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

VOCAB, HIDDEN, HEADS, LAYERS, INNER, LENGTH, BATCH = 60, 16, 2, 2, 32, 6, 2
SPREAD = 0.2

Sample = tuple[nn.Module, dict[str, Tensor]]


class Factory(Protocol):
    """Makes a model in eval mode and inputs for it."""

    def __call__(self, attn_implementation: str = "sdpa", padding_mask: bool = False) -> Sample: ...


def _seeded(build: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    model = build()
    with torch.no_grad():
        for parameter in model.parameters():
            # Fresh weights are so small, and biases so zero, that a lost bias or a swapped operand would not show.
            parameter.add_(SPREAD * torch.randn_like(parameter))
    return model.eval()


def _text(padding_mask: bool, prefix: str = "", seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = {f"{prefix}input_ids": torch.randint(5, VOCAB, (BATCH, LENGTH), generator=generator)}
    if padding_mask:
        mask = torch.ones(BATCH, LENGTH, dtype=torch.long)
        mask[-1, LENGTH - 2 :] = 0
        inputs[f"{prefix}attention_mask"] = mask
    return inputs


def _pretrained(kind: type[PreTrainedModel], config: PreTrainedConfig, attn_implementation: str) -> nn.Module:
    config._attn_implementation = attn_implementation
    return _seeded(lambda: kind(config))


def bert(attn_implementation: str = "sdpa", padding_mask: bool = False) -> Sample:
    """BERT with a classification head."""
    config = BertConfig(
        vocab_size=VOCAB,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=INNER,
        max_position_embeddings=20,
    )
    return _pretrained(BertForSequenceClassification, config, attn_implementation), _text(padding_mask)


def roberta(attn_implementation: str = "sdpa", padding_mask: bool = False) -> Sample:
    """RoBERTa with a classification head; it derives position ids from token ids."""
    config = RobertaConfig(
        vocab_size=VOCAB,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=INNER,
        max_position_embeddings=20,
        pad_token_id=1,
    )
    inputs = _text(padding_mask)
    if padding_mask:
        inputs["input_ids"] = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, 1)
    return _pretrained(RobertaForSequenceClassification, config, attn_implementation), inputs


def distilbert(attn_implementation: str = "sdpa", padding_mask: bool = False) -> Sample:
    """DistilBERT with a classification head."""
    config = DistilBertConfig(
        vocab_size=VOCAB, dim=HIDDEN, n_layers=LAYERS, n_heads=HEADS, hidden_dim=INNER, max_position_embeddings=20
    )
    return _pretrained(DistilBertForSequenceClassification, config, attn_implementation), _text(padding_mask)


def gpt2(attn_implementation: str = "sdpa", padding_mask: bool = False) -> Sample:
    """GPT-2 with its language-model head, tied to the token embedding."""
    config = GPT2Config(vocab_size=VOCAB, n_embd=HIDDEN, n_layer=LAYERS, n_head=HEADS, n_inner=INNER, n_positions=20)
    return _pretrained(GPT2LMHeadModel, config, attn_implementation), _text(padding_mask)


def llama(attn_implementation: str = "sdpa", padding_mask: bool = False) -> Sample:
    """Llama with grouped-query attention: 4 query heads share 2 key and value heads."""
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=INNER,
        max_position_embeddings=20,
    )
    return _pretrained(LlamaForCausalLM, config, attn_implementation), _text(padding_mask)


def qwen2(attn_implementation: str = "sdpa", padding_mask: bool = False) -> Sample:
    """Qwen2: as Llama, with biases on Q, K and V."""
    config = Qwen2Config(
        vocab_size=VOCAB,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=INNER,
        max_position_embeddings=20,
    )
    return _pretrained(Qwen2ForCausalLM, config, attn_implementation), _text(padding_mask)


def t5(attn_implementation: str = "sdpa", padding_mask: bool = False) -> Sample:
    """T5 encoder and decoder; its relative position bias is a weight added to the scores."""
    config = T5Config(
        vocab_size=VOCAB,
        d_model=HIDDEN,
        d_kv=HIDDEN // HEADS,
        d_ff=INNER,
        num_layers=LAYERS,
        num_heads=HEADS,
        relative_attention_num_buckets=8,
    )
    inputs = _text(padding_mask) | _text(padding_mask, prefix="decoder_", seed=2)
    return _pretrained(T5ForConditionalGeneration, config, attn_implementation), inputs


def vit(attn_implementation: str = "sdpa", padding_mask: bool = False) -> Sample:
    """Vision Transformer with a classification head; it has no padding mask."""
    config = ViTConfig(
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=INNER,
        image_size=8,
        patch_size=4,
    )
    pixels = torch.randn(BATCH, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return _pretrained(ViTForImageClassification, config, attn_implementation), {"pixel_values": pixels}


class EncoderWithMask(nn.Module):
    """torch's own TransformerEncoder, taking a 0/1 padding mask of 1 for real tokens."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(HIDDEN, HEADS, INNER, batch_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, LAYERS)

    def forward(self, x: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return the hidden states [N, T, D] of x [N, T, D]."""
        padded = None if attention_mask is None else attention_mask == 0
        hidden: Tensor = self.encoder(x, src_key_padding_mask=padded)
        return hidden


def torch_encoder(attn_implementation: str = "sdpa", padding_mask: bool = False) -> Sample:
    """torch.nn.TransformerEncoder, whose fused eval path must not be captured."""
    inputs = {"x": torch.randn(BATCH, LENGTH, HIDDEN, generator=torch.Generator().manual_seed(1))}
    if padding_mask:
        inputs["attention_mask"] = _text(padding_mask=True)["attention_mask"]
    return _seeded(EncoderWithMask), inputs


def mlp(attn_implementation: str = "sdpa", padding_mask: bool = False) -> Sample:
    """Two linear layers and a ReLU."""
    model = _seeded(lambda: nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)))
    return model, {"input": torch.randn(BATCH, 8, generator=torch.Generator().manual_seed(1))}


class ConvNet(nn.Module):
    """Convolutions, batch norms, each kind of pooling and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 6, 3, bias=False)
        self.head = nn.Linear(6, 3)

    def forward(self, image: Tensor) -> Tensor:
        """Return scores [N, 3] of image [N, 1, 8, 8]."""
        hidden = nn.functional.max_pool2d(torch.relu(self.norm(self.first(image))), 2)
        hidden = nn.functional.avg_pool2d(torch.relu(self.second(hidden)), 2, stride=1, padding=1)
        scores: Tensor = self.head(nn.functional.adaptive_avg_pool2d(hidden, 1).flatten(1))
        return scores


def cnn(attn_implementation: str = "sdpa", padding_mask: bool = False) -> Sample:
    """A small convolutional classifier."""
    model = _seeded(ConvNet)
    with torch.no_grad():
        for name, statistic in model.named_buffers():
            if statistic.is_floating_point():
                statistic.copy_(torch.rand_like(statistic) + (0.5 if name.endswith("var") else 0.0))
    return model, {"image": torch.randn(BATCH, 1, 8, 8, generator=torch.Generator().manual_seed(1))}


FAMILIES: Mapping[str, Factory] = {
    "bert": bert,
    "roberta": roberta,
    "distilbert": distilbert,
    "gpt2": gpt2,
    "llama": llama,
    "qwen2": qwen2,
    "t5": t5,
    "vit": vit,
    "torch_encoder": torch_encoder,
    "mlp": mlp,
    "cnn": cnn,
}

# Families whose attention has the two implementations of transformers, and those that take a padding mask.
HAS_IMPLEMENTATIONS = ("bert", "roberta", "distilbert", "gpt2", "llama", "qwen2", "t5", "vit")
HAS_PADDING_MASK = ("bert", "roberta", "distilbert", "gpt2", "llama", "qwen2", "t5", "torch_encoder")
