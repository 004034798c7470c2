"""Tiny models as ONNX files, by both exporters of torch, and what onnxruntime answers to them."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from typing import TYPE_CHECKING

import onnxruntime
import torch
from torch import Tensor, nn
from transformers import BartConfig, BartForConditionalGeneration

from tests.models import FAMILIES, HEADS, HIDDEN, INNER, LAYERS, VOCAB, Sample, _pretrained, _text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NEW, OLD = "dynamo", "torchscript"


class Logits(nn.Module):
    """A model whose only answer is the logits: exporters take no cache."""

    def __init__(self, model: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.model(**dict(zip(self.names, inputs, strict=True)), use_cache=False).logits
        return logits


class Plain(Logits):
    """As above, for models without a cache."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the answer, or its logits."""
        answer = self.model(**dict(zip(self.names, inputs, strict=True)))
        return answer if isinstance(answer, Tensor) else answer.logits


def bart(attn_implementation: str = "sdpa", padding_mask: bool = False) -> Sample:
    """BART, encoder and decoder."""
    config = BartConfig(
        vocab_size=VOCAB,
        d_model=HIDDEN,
        encoder_layers=LAYERS,
        decoder_layers=LAYERS,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=INNER,
        decoder_ffn_dim=INNER,
        max_position_embeddings=20,
        pad_token_id=1,
        bos_token_id=2,
        eos_token_id=3,
        decoder_start_token_id=3,
        forced_eos_token_id=None,
    )
    inputs = _text(padding_mask) | _text(padding_mask=False, prefix="decoder_", seed=2)
    return _pretrained(BartForConditionalGeneration, config, attn_implementation), inputs


def sample(family: str, attn_implementation: str = "sdpa", padding_mask: bool = False) -> Sample:
    """Return a tiny model of a family and its inputs."""
    make = bart if family == "bart" else FAMILIES[family]
    return make(attn_implementation, padding_mask)


CACHED = {"bart", "gpt2", "llama", "qwen2", "t5"}


def save(path: Path, family: str, model: nn.Module, inputs: Mapping[str, Tensor], exporter: str, opset: int) -> Path:
    """Export a model that answers its inputs' names with logits."""
    kind = Logits if family in CACHED else Plain
    export(path, kind(model, list(inputs)), inputs, exporter, opset)
    return path


def export(
    path: Path, model: nn.Module, inputs: Mapping[str, Tensor], exporter: str, opset: int, **more: object
) -> None:
    """Export a module whose positional arguments are the inputs."""
    logging.disable(logging.WARNING)
    quiet = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model.eval(),
                tuple(inputs.values()),
                str(path),
                input_names=list(inputs),
                output_names=["logits"],
                opset_version=opset,
                dynamo=exporter == NEW,
                **{"external_data": False, **more},
            )
    finally:
        logging.disable(logging.NOTSET)


def answer_of(path: Path, inputs: Mapping[str, Tensor]) -> list[Tensor]:
    """Return what onnxruntime answers."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    named = {value.name for value in session.get_inputs()}
    fed = {name: value.numpy() for name, value in inputs.items() if name in named}
    return [torch.from_numpy(array) for array in session.run(None, fed)]
