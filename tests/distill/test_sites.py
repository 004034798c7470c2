"""Layers and attentions are found in graphs, whatever the model's class."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import mpccompile
from mpccompile.distill.sites import attention_sites, layer_paths
from tests import models


@pytest.mark.parametrize(
    ("paths", "layers"),
    [
        (["bert.encoder.layer.0.attention.self", "bert.encoder.layer.1.attention.self"],
         ["bert.encoder.layer.0", "bert.encoder.layer.1"]),
        (["encoder.block.0.layer.0.A", "decoder.block.0.layer.0.A", "decoder.block.0.layer.1.B"],
         ["encoder.block.0", "decoder.block.0", "decoder.block.0"]),
        (["0.layers.0.attn", "0.layers.1.attn"], ["0.layers.0", "0.layers.1"]),
        (["h.0.attn"], ["h.0"]),
        (["block.attn"], ["block"]),
        (["attn"], [""]),
    ],
)  # fmt: skip
def test_the_layer_is_the_path_to_the_first_number_that_differs(paths, layers):
    assert layer_paths(paths) == layers


def test_a_softmax_over_classes_is_no_attention():
    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(4, 3)
            self.second = nn.Linear(3, 2)

        def forward(self, x):
            return self.second(torch.softmax(self.first(x), -1))

    assert attention_sites(mpccompile.program(Classifier(), {"x": torch.randn(2, 4)})) == []


def test_scores_are_taken_before_the_mask():
    model, inputs = models.bert(padding_mask=True)
    sites = attention_sites(mpccompile.program(model, inputs))
    assert [site.path for site in sites] == [f"bert.encoder.layer.{at}.attention.self" for at in range(models.LAYERS)]
    assert all(site.scores.target.__name__ == "matmul" for site in sites)
    assert all(site.mask is not None for site in sites)
