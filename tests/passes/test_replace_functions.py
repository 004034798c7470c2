"""Approximations go where they were asked for, and the later passes keep what they compute."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from mpccompile import compiler
from mpccompile.errors import OptionError
from mpccompile.ir import ops
from mpccompile.ir.cost import total_cost
from mpccompile.ir.verify import verify
from mpccompile.options import Options
from mpccompile.passes.driver import run_passes
from mpccompile.passes.replace_functions import replace_functions
from tests.models import LAYERS, bert
from tests.passes.build import assert_exact, calls, family, log_of


class Quad(nn.Module):
    """MPCFormer's parabola."""

    def forward(self, x):
        """Return 0.125 x^2 + 0.25 x + 0.5."""
        return 0.125 * x**2 + 0.25 * x + 0.5


def program_of(name, **choices):
    return run_passes(family(name, **choices), compiler.RECOGNISERS)


def approximated(program, **fields):
    return compiler.approximate(program, Options(**fields))


@pytest.mark.parametrize("name", ["bert", "gpt2", "vit"])
def test_every_site_of_a_real_model(name):
    program = program_of(name)
    before = calls(program)
    result = replace_functions(program, Options(gelu="quad", softmax="2quad"))
    verify(result)
    after = calls(result)
    assert before["gelu"] == after["quadratic"] == LAYERS
    assert "gelu" not in after
    assert after["softmax"] == before["softmax"] == LAYERS
    assert {node.args[2] for node in result.graph.nodes if node.target is ops.softmax} == {"2quad"}
    del before["gelu"], after["quadratic"]
    assert before == after
    assert total_cost(result).bytes_sent <= total_cost(program).bytes_sent


def test_relu_costs_more_than_gelu_and_is_there_all_the_same():
    program = program_of("bert")
    result = replace_functions(program, Options(gelu="relu", softmax="2relu"))
    assert calls(result)["relu"] == LAYERS
    assert total_cost(result).bytes_sent > total_cost(program).bytes_sent


def test_nothing_happens_unless_asked_for():
    program = program_of("bert")
    assert replace_functions(program, Options()).module is program.module


@pytest.mark.parametrize("padding_mask", [False, True])
def test_the_result_is_what_torch_computes_with_those_functions(monkeypatch, padding_mask):
    program = program_of("bert", padding_mask=padding_mask)
    result = approximated(program, gelu="quad", softmax="2quad")
    keep = dict(zip((spec.name for spec in program.inputs), program.example_inputs, strict=True)).get("attention_mask")

    def squares(query, key, value, *_args, **_kwargs):
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        mask = torch.ones(()) if keep is None else keep[:, None, None, :].float()
        weights = mask * (scores + 5) ** 2
        return weights / weights.sum(-1, keepdim=True) @ value

    model, inputs = bert(padding_mask=padding_mask)
    monkeypatch.setattr(functional, "scaled_dot_product_attention", squares)
    for layer in model.bert.encoder.layer:
        layer.intermediate.intermediate_act_fn = Quad()
    with torch.no_grad():
        expected = model(**inputs).logits
    assert float((result.reference[0] - expected).abs().max()) < 1e-5


@pytest.mark.parametrize("softmax", ["2quad", "2relu"])
@pytest.mark.parametrize(("name", "padding_mask"), [("bert", True), ("gpt2", True), ("vit", False), ("t5", True)])
def test_later_passes_keep_the_approximated_answers(name, padding_mask, softmax):
    program = program_of(name, padding_mask=padding_mask)
    result = approximated(program, softmax=softmax)
    assert not torch.equal(result.reference[0], program.reference[0])
    final = run_passes(result, compiler.EXACT_PASSES)
    assert_exact(final)
    assert {node.args[3] for node in final.graph.nodes if node.target is ops.attend} == {softmax}


def test_running_it_twice_changes_nothing_more():
    options = Options(gelu="relu", softmax={"*.layer.0.*": "2quad"})
    once = replace_functions(program_of("bert"), options)
    again = replace_functions(once, options)
    assert log_of(again).changes == 0
    assert again.module is once.module


def test_sites_are_chosen_by_pattern_and_the_last_one_counts():
    program = program_of("bert")
    choice = {"*": "quad", "*.layer.1.*": "relu"}
    kinds = [
        node.target
        for node in replace_functions(program, Options(gelu=choice)).graph.nodes
        if node.target in (ops.quadratic, ops.relu)
    ]
    assert kinds == [ops.quadratic, ops.relu]
    turned = replace_functions(program, Options(gelu=dict(reversed(choice.items()))))
    assert calls(turned)["quadratic"] == LAYERS
    some = replace_functions(program, Options(gelu={"*.layer.0.*": "quad"}))
    assert (calls(some)["quadratic"], calls(some)["gelu"]) == (1, LAYERS - 1)
    assert calls(replace_functions(program, Options(gelu=(("*", "quad"), ("*.layer.0.*", "exact")))))["gelu"] == 1


def test_the_record_says_what_became_of_each_site():
    result = approximated(program_of("bert"), gelu={"*.layer.0.*": "quad"})
    (text,) = result.history[-1].replaced
    assert "bert.encoder.layer.0.intermediate" in text
    assert text.endswith("gelu became quad")


def test_a_pattern_that_fits_nowhere_is_named_with_some_that_would():
    with pytest.raises(OptionError, match=r"'\*\.layer\.9\.\*' matches no gelu") as caught:
        replace_functions(program_of("bert"), Options(gelu={"*.layer.9.*": "quad"}))
    assert "bert.encoder.layer.0.intermediate" in caught.value.hint


def test_a_model_without_the_function_says_so():
    with pytest.raises(OptionError, match="matches no softmax") as caught:
        replace_functions(program_of("mlp"), Options(softmax="2quad"))
    assert caught.value.hint == "It computes no softmax."


def test_an_unknown_name_is_told_with_those_there_are():
    with pytest.raises(OptionError, match="'gauss' is no approximation of gelu") as caught:
        replace_functions(program_of("bert"), Options(gelu="gauss"))
    assert "exact, quad, relu" in caught.value.hint
