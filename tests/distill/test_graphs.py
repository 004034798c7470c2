"""Programs that are trained and looked into, without touching the model they came from."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import mpccompile
from mpccompile.distill.graphs import check_rows, probed, trainable, weights_of, with_weights
from mpccompile.errors import DistillationError
from mpccompile.ir.verify import max_error
from tests import models


class TwoNames(nn.Module):
    """One weight that the graph reads by two names, one weight that is frozen, and one buffer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4, bias=False)
        self.second = nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight
        self.frozen = nn.Linear(4, 4, bias=False).requires_grad_(False)
        self.register_buffer("scale", torch.full((4,), 2.0))

    def forward(self, x):
        return self.second(torch.relu(self.first(x))) + self.frozen(x) * self.scale


def test_weights_are_copies_and_keep_their_names():
    model, inputs = models.bert()
    program = mpccompile.program(model, inputs)
    module = trainable(program)
    named = dict(model.named_parameters())
    for name, weight in module.named_parameters():
        assert torch.equal(weight, named[name])
        assert weight.data_ptr() != named[name].data_ptr()


def test_two_names_of_one_memory_stay_one_parameter():
    program = mpccompile.program(TwoNames(), {"x": torch.randn(2, 4)})
    graph, kept = program.graph, program.module
    tied = next(node for node in graph.nodes if node.target in {"first.weight", "second.weight"})
    owner = "second" if tied.target == "first.weight" else "first"
    kept.add_submodule(owner, nn.Module())
    kept.get_submodule(owner).weight = kept.get_parameter(tied.target)
    *_, last = tied.users
    with graph.inserting_before(last):
        last.replace_input_with(tied, graph.get_attr(f"{owner}.weight"))
    module = trainable(program)
    assert module.first.weight is module.second.weight
    assert module.first.weight is not kept.first.weight
    trained = [name for name, weight in module.named_parameters() if weight.requires_grad]
    assert len(trained) == 1
    assert not module.frozen.weight.requires_grad
    assert "scale" not in dict(module.named_parameters())


def test_a_program_without_weights_cannot_be_trained():
    program = mpccompile.program(nn.GELU(), {"input": torch.randn(2, 4)})
    with pytest.raises(DistillationError, match="no weight to train"):
        trainable(program)


def test_inner_values_come_by_name():
    program = mpccompile.program(*models.mlp())
    relu = next(node.name for node in program.graph.nodes if node.op == "call_function" and "relu" in str(node.target))
    inputs = models.mlp()[1]
    logits, values = probed(program, program.module, [relu])(inputs)
    assert torch.equal(logits, program.module(**inputs)[0])
    assert values[relu].shape == (2, 16)
    with pytest.raises(KeyError):
        probed(program, program.module, ["absent"])


def test_new_weights_give_new_answers_to_compare_with():
    model, inputs = models.mlp()
    program = mpccompile.program(model, inputs)
    changed = with_weights(program, {name: weight * 2 for name, weight in weights_of(program.module).items()})
    assert max_error(changed) == 0.0
    assert not torch.allclose(changed.reference[0], program.reference[0])
    assert torch.equal(next(model.parameters()), dict(program.module.named_parameters())["0.weight"])


class BatchSecond(nn.Module):
    """Answers with the batch in the second place."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 2)

    def forward(self, x):
        return self.inner(x).permute(1, 0)


def test_an_answer_that_mixes_rows_up_is_refused():
    check_rows(mpccompile.program(*models.bert()), [])
    with pytest.raises(DistillationError, match=r"shape \[2, 2\] does not have the 2 rows of the batch first"):
        check_rows(mpccompile.program(BatchSecond(), {"x": torch.randn(2, 4)}), [])
