"""Capture keeps what the model computes, says who may know what, and leaves the model alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, MPNetConfig, MPNetModel

from mpccompile.capture.from_torch import capture
from mpccompile.errors import CaptureFailed, OptionError
from mpccompile.ir.program import Origin, OutputSpec, Secrecy
from mpccompile.ir.verify import max_error
from mpccompile.lowering.lower import lower
from mpccompile.options import Options
from tests.lowering.programs import captured, run
from tests.models import FAMILIES, LENGTH, bert, gpt2, mlp, roberta, t5


def by_name(program):
    return {spec.name: spec for spec in program.inputs}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_captured_graph_computes_what_the_model_computes(family):
    model, inputs = FAMILIES[family](padding_mask=True)
    program = capture(model, inputs)
    assert max_error(program) < 1e-6
    assert program.name == type(model).__name__
    assert {spec.name for spec in program.inputs} == set(inputs)


class Foreign(nn.Module):
    def forward(self, größe: Tensor, Ä: Tensor) -> Tensor:  # noqa: N803, PLC2401 - what is tested
        return größe * Ä


def test_inputs_keep_names_that_are_not_ascii():
    inputs = {"größe": torch.randn(2, 3), "Ä": torch.randn(2, 3)}
    assert set(by_name(capture(Foreign(), inputs))) == set(inputs)


def test_every_node_is_a_plain_call_with_a_value_and_an_origin():
    program = capture(*bert(padding_mask=True))
    assert {node.op for node in program.graph.nodes} == {"placeholder", "get_attr", "call_function", "output"}
    for node in program.graph.nodes:
        assert isinstance(node.meta["origin"], Origin)
        assert "assert" not in str(node.target)
        assert node.op == "output" or isinstance(node.meta["val"], Tensor)


def test_an_origin_is_a_module_path_and_a_line_of_the_model():
    program = capture(*bert())
    origin = next(node.meta["origin"] for node in program.graph.nodes if "gelu" in str(node.target))
    assert origin.module_path == "bert.encoder.layer.0.intermediate.intermediate_act_fn"
    query = next(node.meta["origin"] for node in program.graph.nodes if "linear" in str(node.target))
    assert query.module_path == "bert.encoder.layer.0.attention.self.query"
    assert query.source.startswith("modeling_bert.py:")


def test_token_ids_and_float_inputs_are_secret_and_masks_are_public():
    program = capture(*bert(padding_mask=True))
    assert by_name(program)["input_ids"].secrecy is Secrecy.SECRET
    assert by_name(program)["attention_mask"].secrecy is Secrecy.PUBLIC
    assert capture(*mlp()).inputs[0].secrecy is Secrecy.SECRET


def test_options_override_who_may_know_an_input():
    options = Options(secret=("attention_mask",), public=("input_ids",))
    program = capture(*bert(padding_mask=True), options)
    assert by_name(program)["input_ids"].secrecy is Secrecy.PUBLIC
    assert by_name(program)["attention_mask"].secrecy is Secrecy.SECRET


def test_an_option_that_names_no_input_lists_the_inputs():
    with pytest.raises(OptionError, match=r"no input named mask .*The inputs are input_ids, attention_mask"):
        capture(*bert(padding_mask=True), Options(secret=("mask",)))


def test_weights_are_secret_and_tables_made_from_shapes_are_not():
    program = capture(*bert())
    assert "classifier.weight" in program.secret_attributes
    assert "bert.embeddings.position_ids" not in program.secret_attributes


def test_statistics_in_the_state_dict_are_secret_weights():
    program = capture(*FAMILIES["cnn"]())
    assert {"norm.running_mean", "norm.running_var"} <= program.secret_attributes


def test_a_public_embedding_is_public_under_each_of_its_names():
    secret = capture(*gpt2(), Options(embedding="public")).secret_attributes
    assert not {"transformer.wte.weight", "lm_head.weight"} & secret
    assert "transformer.wpe.weight" in secret
    assert {"transformer.wte.weight", "lm_head.weight"} & capture(*gpt2()).secret_attributes


def test_the_model_is_left_as_it_was():
    model, inputs = bert(padding_mask=True)
    model.train()
    model.bert.pooler.eval()
    config, state = model.config.to_dict(), {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    parameters = [id(parameter) for parameter in model.parameters()]
    program = capture(model, inputs)
    with torch.no_grad():
        lower(program).module(*program.example_inputs)
    assert model.config.to_dict() == config
    assert [module.training for module in model.modules()] == modes
    assert [id(parameter) for parameter in model.parameters()] == parameters
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.backends.mha.get_fastpath_enabled()


def test_the_model_is_left_as_it_was_when_capture_fails():
    model, inputs = gpt2()
    model.train()
    with pytest.raises(CaptureFailed):
        capture(model, {**inputs, "attention_mask": torch.ones(1, 3)})
    assert model.training
    assert model.config.use_cache


def test_a_model_output_keeps_its_main_tensors():
    expected = OutputSpec("model_output", ("logits",), "transformers.modeling_outputs:Seq2SeqLMOutput")
    assert capture(*t5()).output == expected
    config = BertConfig(vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    config.output_hidden_states = True
    program = capture(BertModel(config), {"input_ids": torch.ones(1, 4, dtype=torch.long)})
    assert program.output.keys == ("last_hidden_state", "pooler_output")
    assert max_error(program) < 1e-6


class Returning(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x, flag=None):
        return self.make(x) if flag is not True else -x


def test_tensors_tuples_and_dicts_are_described():
    x = {"x": torch.ones(2)}
    assert capture(Returning(lambda x: x + 1), x).output == OutputSpec("tensor", ("output",))
    assert capture(Returning(lambda x: (x, None, x + 1)), x).output == OutputSpec("tuple", ("0", "2"))
    assert capture(Returning(lambda x: {"b": x, "a": x + 1}), x).output == OutputSpec("dict", ("b", "a"))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda x: (x, [x]), "output '1' is a list"),
        (lambda _: None, "returns a NoneType"),
        (lambda _: (None,), "returns no tensor"),
    ],
)
def test_other_outputs_are_refused(make, text):
    with pytest.raises(CaptureFailed, match=text):
        capture(Returning(make), {"x": torch.ones(2)})


def test_one_tensor_given_twice_is_two_inputs():
    program = captured(torch.mul, *[torch.ones(2)] * 2, public="y")
    assert torch.equal(run(program, x=torch.ones(2) * 2, y=torch.ones(2) * 3)[0], torch.ones(2) * 6)


def test_positional_inputs_get_their_names_and_constants_are_baked_in():
    program = capture(Returning(lambda x: x + 1), (torch.ones(2), True))
    assert [spec.name for spec in program.inputs] == ["x"]
    assert torch.equal(run(program, x=torch.ones(2))[0], -torch.ones(2))


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({"x": [torch.ones(2)]}, "Input 'x' is a list at input x"),
        ({}, "No input is a tensor"),
        ((torch.ones(2), None, None), "3 inputs are given, but forward takes x, flag"),
    ],
)
def test_inputs_that_cannot_be_captured_are_refused(inputs, text):
    with pytest.raises(CaptureFailed, match=text):
        capture(Returning(lambda x: x), inputs)


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Returning(self.choose)

    def choose(self, x):
        return x if x.sum() > 0 else -x

    def forward(self, x):
        return self.inner(x)


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x):
        self.count += 1
        return x + self.count


def test_control_flow_on_values_is_refused_with_its_line():
    with pytest.raises(
        CaptureFailed, match=r"(?s)cannot capture .* \(test_from_torch.py:\d+\).*Make forward depend on shapes"
    ):
        capture(Branching(), {"x": torch.ones(2)})


def test_a_model_that_fails_is_refused_with_its_module():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(3, 4))
    with pytest.raises(CaptureFailed, match=r"fails on these inputs: RuntimeError.* at 1"):
        capture(model, (torch.ones(1, 3),))


@pytest.mark.parametrize("family", [bert, gpt2])
def test_more_tokens_than_positions_are_told_as_such(family):
    model, _ = family()
    most = model.config.max_position_embeddings
    with pytest.raises(CaptureFailed, match=f"input_ids has {most + 4} tokens, and the model has {most} positions"):
        capture(model, {"input_ids": torch.zeros(1, most + 4, dtype=torch.long)})


def test_a_model_that_changes_its_state_is_refused():
    with pytest.raises(CaptureFailed, match="changes its own state: count"):
        capture(Counting(), {"x": torch.ones(2)})


def test_a_model_with_randomness_is_refused():
    with pytest.raises(CaptureFailed, match="differs from the model"):
        capture(Returning(lambda x: x + torch.rand(2)), {"x": torch.ones(2)})


class Revealing(nn.Module):
    def __init__(self, what: str) -> None:
        super().__init__()
        self.layer, self.what = nn.Linear(4, 3), what

    def forward(self, x: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        weight = self.layer.weight
        beside = {"weight": weight, "product": weight @ weight.T, "shape": torch.ones(x.shape), "mask": attention_mask}
        return self.layer(x), beside[self.what] * 2


def test_an_output_after_one_that_is_given_twice_keeps_its_name():
    class Twice(nn.Module):
        def forward(self, x):
            once = x + 1
            return once, once, torch.ones(2)

    with pytest.raises(CaptureFailed, match="The output 2 is made of public values alone"):
        capture(Twice(), {"x": torch.ones(2)})


@pytest.mark.parametrize("what", ["weight", "product", "shape", "mask"])
def test_an_output_that_nothing_secret_of_the_clients_goes_into_is_refused(what):
    inputs = {"x": torch.ones(2, 4), "attention_mask": torch.ones(2, 4)}
    of = "weights" if what in {"weight", "product"} else "public values"
    with pytest.raises(CaptureFailed, match=rf"The output 1 is made of {of} alone.*Leave it out"):
        capture(Revealing(what), inputs)


def test_an_input_without_elements_is_refused():
    with pytest.raises(CaptureFailed, match=r"Input 'input' has no elements: its shape is \[0, 8\].*size of 1"):
        capture(mlp()[0], {"input": torch.zeros(0, 8)})


def test_half_precision_is_refused():
    with pytest.raises(CaptureFailed, match=r"0.weight is bfloat16.*model.float\(\)"):
        capture(mlp()[0].to(torch.bfloat16), mlp()[1])
    model, inputs = mlp()
    with torch.no_grad():
        model[2].bias[1] = torch.nan
    with pytest.raises(CaptureFailed, match=r"The weight 2.bias holds NaN or infinity"):
        capture(model, inputs)


def test_weights_elsewhere_than_on_the_cpu_are_refused():
    with pytest.raises(CaptureFailed, match=r"0.weight is on meta.*model.cpu\(\)"):
        capture(mlp()[0].to("meta"), mlp()[1])


def test_roberta_gets_its_positions_from_the_mask_of_the_day():
    model, inputs = roberta(padding_mask=True)
    program = capture(model, inputs)
    assert [spec.name for spec in program.inputs] == ["input_ids", "attention_mask"]
    other = {"attention_mask": torch.ones(2, LENGTH, dtype=torch.long), "input_ids": inputs["input_ids"].clamp(min=5)}
    other["attention_mask"][0, 3:] = 0
    other["input_ids"][0, 3:] = 1
    with torch.no_grad():
        assert torch.allclose(run(program, **other)[0], model(**other).logits, atol=1e-6)


def test_roberta_without_a_mask_counts_all_tokens():
    model, inputs = roberta()
    program = capture(model, inputs)
    assert [spec.name for spec in program.inputs] == ["input_ids"]
    with torch.no_grad():
        assert torch.allclose(program.reference[0], model(**inputs).logits, atol=1e-6)


def test_roberta_with_a_secret_mask_asks_for_positions():
    model, inputs = roberta(padding_mask=True)
    with pytest.raises(CaptureFailed, match="position_ids"):
        capture(model, inputs, Options(secret=("attention_mask",)))
    given = {**inputs, "position_ids": torch.arange(2, 2 + LENGTH).expand(2, -1)}
    assert max_error(capture(model, given, Options(secret=("attention_mask",)))) < 1e-6


def test_positions_made_by_a_function_of_the_file_are_supplied_too():
    config = MPNetConfig(
        vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, pad_token_id=1
    )
    config._attn_implementation = "eager"
    program = lower(capture(MPNetModel(config).eval(), roberta(padding_mask=True)[1]))
    assert max_error(program) < 1e-5
