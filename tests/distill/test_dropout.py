"""Dropout comes where Transformers have it, also where the softmax is gone."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

import mpccompile
from mpccompile.distill.dropout import Place, with_dropout
from mpccompile.distill.match import match
from tests import models
from tests.distill.approximate import student_of


@pytest.mark.parametrize("family", ["bert", "gpt2", "torch_encoder"])
@pytest.mark.parametrize("whose", ["teacher", "student"])
def test_dropout_comes_where_transformers_have_it(family, whose):
    model, inputs = models.FAMILIES[family]()
    teacher, student = mpccompile.program(model, inputs), student_of(model, inputs)
    places = [Place(pair.place, pair.shape) for pair in match(teacher, student) if pair.kind == "attention"]
    program = teacher if whose == "teacher" else student
    noisy = with_dropout(program, 0.5, places)
    dropped = [node for node in noisy.graph.nodes if node.target is functional.dropout]
    # Probabilities, the attention's output and the feed-forward layer's output.
    assert len(dropped) == 3 * models.LAYERS
    with torch.no_grad():
        first, second = (noisy.module(*program.example_inputs)[0] for _ in range(2))
        plain = with_dropout(program, 0.0, places).module(*program.example_inputs)[0]
        assert not torch.allclose(first, second)
        assert torch.allclose(plain, program.module(*program.example_inputs)[0], atol=1e-5)


def test_without_attention_there_is_none():
    program = mpccompile.program(*models.mlp())
    noisy = with_dropout(program, 0.5, [])
    assert not [node for node in noisy.graph.nodes if node.target is functional.dropout]
