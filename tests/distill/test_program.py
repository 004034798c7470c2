"""Programs to train keep the names of their weights, and are what the model computes."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import mpccompile
from mpccompile.distill import program as programs
from mpccompile.distill.graphs import trainable
from mpccompile.errors import OptionError
from mpccompile.ir import ops
from mpccompile.ir.verify import max_error, verify
from mpccompile.options import Options
from tests import models


@pytest.mark.parametrize("family", ["bert", "llama", "vit", "gpt2", "t5", "qwen2"])
def test_weights_keep_their_names(family):
    model, inputs = models.FAMILIES[family]()
    program = mpccompile.program(model, inputs)
    verify(program)
    assert max_error(program) < 1e-4
    named = dict(model.named_parameters(remove_duplicate=False))
    for name, weight in program.module.named_parameters():
        assert weight.data_ptr() == named[name].data_ptr()


@pytest.mark.parametrize("family", ["bert", "llama", "vit", "gpt2", "t5", "qwen2", "mlp"])
def test_every_weight_that_the_model_uses_gets_the_models_gradient(family):
    model, inputs = models.FAMILIES[family]()
    program = mpccompile.program(model, inputs)
    trained = trainable(program)
    answer = trained(*program.example_inputs)[0]
    answer.square().sum().backward()
    own = model(**inputs)
    (own if isinstance(own, torch.Tensor) else own.to_tuple()[0]).square().sum().backward()
    found = {id(weight): weight.grad for weight in trained.parameters()}
    mine = {weight.data_ptr(): weight.grad for weight in model.parameters() if weight.grad is not None}
    read = {weight.data_ptr() for weight in program.module.parameters()}
    assert set(mine) <= read
    names = dict(trained.named_parameters(remove_duplicate=False))
    for name, weight in model.named_parameters(remove_duplicate=False):
        if weight.grad is not None and name in names:
            near = 1e-5 * max(1.0, float(weight.grad.abs().max()))
            torch.testing.assert_close(found[id(names[name])], weight.grad, rtol=0, atol=near)


def test_weights_that_became_part_of_others_are_named():
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2)).eval()
    with pytest.warns(UserWarning, match=r"training leaves them as they are: 1\.weight, 1\.bias$"):
        mpccompile.program(model, (torch.ones(2, 1, 5, 5),))


def test_functions_are_replaced_after_they_are_named():
    model, inputs = models.bert()
    program = programs.make(model, inputs, Options(gelu="quad", softmax="2relu"))
    called = {node.target for node in program.graph.nodes}
    assert ops.gelu not in called
    assert ops.quadratic in called
    assert {node.args[2] for node in program.graph.nodes if node.target is ops.softmax} == {"2relu"}
    exact = programs.make(model, inputs, Options())
    with torch.no_grad():
        assert torch.allclose(program.module(**inputs)[0], program.reference[0])
        assert not torch.allclose(program.reference[0], exact.reference[0])


def test_an_option_that_there_is_none_of_is_refused():
    with pytest.raises(OptionError, match="unknown option colour"):
        mpccompile.program(*models.mlp(), colour="red")


def test_the_package_is_the_function_whatever_is_imported_first():
    script = (
        "import sys, mpccompile\n"
        "assert not {'torch', 'mpccompile.distill'} & set(sys.modules)\n"
        "assert callable(mpccompile.distill)\n"
        "import mpccompile.distill.config\n"
        "assert callable(mpccompile.distill)\n"
        "assert mpccompile.Stage is mpccompile.distill.Stage\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
