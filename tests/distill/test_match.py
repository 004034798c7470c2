"""The values that a teacher and a student have in common."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import mpccompile
from mpccompile.distill.graphs import probed
from mpccompile.distill.match import match
from mpccompile.errors import DistillationError
from tests import models
from tests.distill.approximate import approximated, student_of

# Attentions, and hidden states: the input of each stack and the output of each layer.
EXPECTED = {
    "bert": (2, 3),
    "roberta": (2, 3),
    "distilbert": (2, 3),
    "gpt2": (2, 3),
    "llama": (2, 3),
    "qwen2": (2, 3),
    "t5": (6, 6),
    "vit": (2, 3),
    "torch_encoder": (2, 2),  # its input is the program's own
}


@pytest.mark.parametrize("family", EXPECTED)
def test_every_family_is_matched(family):
    model, inputs = models.FAMILIES[family](padding_mask=family in models.HAS_PADDING_MASK)
    pairs = match(mpccompile.program(model, inputs), student_of(model, inputs))
    kinds = [pair.kind for pair in pairs]
    assert (kinds.count("attention"), kinds.count("hidden")) == EXPECTED[family]
    assert all((pair.tokens is not None) == (family in models.HAS_PADDING_MASK) for pair in pairs)


def test_hidden_states_and_scores_are_those_that_transformers_reports():
    model, inputs = models.bert("eager", padding_mask=True)
    teacher = mpccompile.program(model, inputs)
    pairs = match(teacher, student_of(model, inputs))
    with torch.no_grad():
        _, values = probed(teacher, teacher.module, [pair.teacher for pair in pairs])(inputs)
        said = model(**inputs, output_hidden_states=True, output_attentions=True)
    hidden = [values[pair.teacher] for pair in pairs if pair.kind == "hidden"]
    for mine, theirs in zip(hidden, said.hidden_states, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)
    keep = inputs["attention_mask"][:, None, None, :].bool()
    scores = [values[pair.teacher] for pair in pairs if pair.kind == "attention"]
    for mine, theirs in zip(scores, said.attentions, strict=True):
        assert torch.allclose(mine.masked_fill(~keep, float("-inf")).softmax(-1), theirs, atol=1e-5)


class Inline(nn.Module):
    """Two attentions written out in one module, without a name for either."""

    def __init__(self, twice=True):
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(8, 8) / 3) for _ in range(4))
        self.twice = twice

    def forward(self, x):
        for first, second in ((0, 1), (2, 3)) if self.twice else ((0, 1),):
            scores = x @ self.weights[first] @ x.mT + 1.0
            x = torch.softmax(scores, -1) @ (x @ self.weights[second]) + x
        return x


def test_sums_that_a_replacement_adds_do_not_shift_the_pairs():
    inputs = {"x": torch.randn(2, 4, 8)}
    model = Inline()
    pairs = match(mpccompile.program(model, inputs), student_of(model, inputs))
    assert [pair.teacher for pair in pairs] == [pair.student for pair in pairs]
    assert len(pairs) == 2


def test_what_has_no_counterpart_is_named():
    inputs = {"x": torch.randn(2, 4, 8)}
    with pytest.raises(DistillationError, match="have no counterpart in the student"):
        match(mpccompile.program(Inline(), inputs), student_of(Inline(twice=False), inputs))


def test_layers_of_another_width_are_named():
    model, inputs = models.bert()
    wide = models.bert()[0].config
    wide.intermediate_size, wide.hidden_size = 8, 32
    other = type(model)(wide).eval()
    with pytest.raises(DistillationError, match=r"bert\.encoder\.layer\.0"):
        match(mpccompile.program(model, inputs), approximated(mpccompile.program(other, inputs)))


def test_a_teacher_without_attention_is_told_so():
    model, inputs = models.mlp()
    program = mpccompile.program(model, inputs)
    with pytest.raises(DistillationError, match="no attention"):
        match(program, program)
