"""What approximations say of themselves is what they do."""

from __future__ import annotations

import math

import pytest
import torch

import mpccompile
from mpccompile.approximations import APPROXIMATIONS, check, named
from mpccompile.errors import OptionError
from mpccompile.ir import ops
from mpccompile.options import Options
from tests.approximations.rounding import rounding_bound
from tests.models import FAMILIES


def test_names_are_unique_and_none_is_exact():
    names = [(each.replaces, each.name) for each in APPROXIMATIONS]
    assert len(set(names)) == len(names)
    assert "exact" not in {name for _, name in names}
    assert named("gelu", "exact") is None


@pytest.mark.parametrize("each", APPROXIMATIONS, ids=lambda each: f"{each.replaces}-{each.name}")
def test_each_tells_what_it_is(each):
    assert all((each.formula, each.domain, each.source, each.accuracy, each.cost))
    low, high = each.typical
    assert 0 < each.worst_error(low / 2, high / 2) <= each.typical_error + 1e-9


@pytest.mark.parametrize("x", [-3.0, 0.0, 3.0])
def test_the_error_of_quad_is_that_of_the_parabola(x):
    exact = 0.5 * x * (1 + math.erf(x / math.sqrt(2)))
    expected = abs(0.125 * x * x + 0.25 * x + 0.5 - exact)
    assert named("gelu", "quad").worst_error(x, x) == pytest.approx(expected, abs=1e-9)


def test_the_error_of_relu_is_where_gelu_is_furthest_from_it():
    assert named("gelu", "relu").typical_error == pytest.approx(0.17, abs=1e-3)


def test_a_row_of_equal_scores_has_no_error_and_one_apart_has():
    for name in ("2quad", "2relu"):
        assert named("softmax", name).worst_error(1.0, 1.0) < 1e-12
    one, others = math.exp(3.0), 127 * math.exp(-3.0)
    squares = 64 / (64 + 127 * 4)
    assert named("softmax", "2quad").typical_error >= one / (one + others) - squares - 1e-9


@pytest.mark.parametrize("form", ["2quad", "2relu"])
def test_gradients_pass_so_that_models_can_be_trained(form):
    x = torch.randn(3, 5, requires_grad=True)
    keep = torch.ones(3, 5, dtype=torch.bool).tril()
    ops.softmax(x, keep, form).square().sum().backward()
    assert bool(torch.isfinite(x.grad).all())


def test_options_take_a_name_a_mapping_or_pairs_and_keep_pairs():
    assert Options(gelu="quad").gelu == (("*", "quad"),)
    assert Options(gelu={"a.*": "quad"}) == Options(gelu=[["a.*", "quad"]])
    assert hash(Options(softmax={"a": "2quad"}))
    assert Options.merged(None, {"gelu": [["*", "relu"]]}).chosen("gelu") == (("*", "relu"),)
    with pytest.raises(OptionError, match="names no approximation"):
        Options(gelu=[("a", "b", "c")])


def test_names_are_checked_before_anything_is_compiled():
    assert check(Options(gelu="quad")) == Options(gelu="quad")
    with pytest.raises(OptionError, match="'soft' is no approximation of softmax"):
        mpccompile.compile(torch.nn.Linear(2, 2), softmax="soft")


@pytest.mark.parametrize("softmax", ["2quad", "2relu"])
@pytest.mark.parametrize(("family", "padding_mask"), [("bert", True), ("gpt2", True), ("gpt2", False), ("vit", False)])
def test_private_answers_are_those_of_the_approximated_model(family, padding_mask, softmax):
    from mpccompile import compiler

    model, inputs = FAMILIES[family](padding_mask=padding_mask)
    options = Options(gelu="quad", softmax=softmax)
    program = compiler.approximate(compiler.recognise(model, inputs, options), options)
    expected = program.reference[0]
    with mpccompile.compile(model, example_inputs=inputs, options=options) as private:
        answer = private(**inputs).logits
        profile = private.last_profile()
    # A row of 2ReLU whose scores hardly rise above zero is divided by a small sum: 2e-4 more for BERT, 8e-3 for GPT-2.
    more = rounding_bound(program) if softmax == "2relu" else 0.0
    assert float((answer - expected).abs().max()) < 2e-3 + more
    assert profile.static_agrees


def test_a_secret_mask_and_a_package_keep_the_choice(tmp_path):
    model, inputs = FAMILIES["bert"](padding_mask=True)
    chosen = {"gelu": {"*.layer.0.*": "quad"}, "softmax": "2quad"}
    with mpccompile.compile(model, example_inputs=inputs, **chosen) as public:
        expected = public(**inputs).logits
        public.save(tmp_path)
    with mpccompile.load(tmp_path) as again:
        (package,) = again._packages.values()
        assert package.options.chosen("gelu") == (("*.layer.0.*", "quad"),)
        assert any("gelu became quad" in text for record in package.history for text in record.replaced)
        torch.testing.assert_close(again(**inputs).logits, expected, atol=1e-3, rtol=0)
    with mpccompile.compile(model, example_inputs=inputs, secret=("attention_mask",), **chosen) as secret:
        torch.testing.assert_close(secret(**inputs).logits, expected, atol=2e-3, rtol=0)
