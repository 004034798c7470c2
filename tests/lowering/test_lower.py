"""Every family is lowered whole and computes what it did, with the mask of the day."""

from __future__ import annotations

import functools

import pytest
import torch

from mpccompile.capture.from_torch import capture
from mpccompile.errors import UnsupportedOp
from mpccompile.ir.verify import max_error, verify
from mpccompile.lowering.lower import lower
from mpccompile.options import Options
from mpccompile.passes.recognise_gelu import recognise_gelu
from mpccompile.passes.recognise_rms_norm import recognise_rms_norm
from tests.lowering.programs import calls, captured, lowered, run, seeded
from tests.models import FAMILIES, HAS_IMPLEMENTATIONS, HAS_PADDING_MASK

CASES = [
    (family, implementation, mask)
    for family in FAMILIES
    for implementation in (("sdpa", "eager") if family in HAS_IMPLEMENTATIONS else ("sdpa",))
    for mask in ((False, True) if family in HAS_PADDING_MASK else (False,))
]
MASKED = [case[:2] for case in CASES if case[2]]


@functools.cache
def compiled(family, implementation, mask):
    return lower(capture(*FAMILIES[family](implementation, mask)))


@pytest.mark.parametrize(("family", "implementation", "mask"), CASES)
def test_a_family_is_lowered_and_computes_the_same(family, implementation, mask):
    program = compiled(family, implementation, mask)
    verify(program)
    assert max_error(program) < 1e-5
    whole = recognise_rms_norm(recognise_gelu(program))
    verify(whole)
    assert max_error(whole) < 1e-5


@pytest.mark.parametrize(("family", "implementation", "mask"), [case for case in CASES if not case[2]])
def test_without_a_mask_nothing_is_left_to_compute_in_plaintext(family, implementation, mask):
    assert not [name for name in calls(compiled(family, implementation, mask)) if name.startswith("aten")]


@pytest.mark.parametrize(("family", "implementation"), MASKED)
@pytest.mark.parametrize("padding", ["none", "right", "left"])
def test_the_mask_of_the_day_is_used(family, implementation, padding):
    model, inputs = FAMILIES[family](implementation, padding_mask=True)
    for name, value in inputs.items():
        if name.endswith("attention_mask"):
            inputs[name] = torch.ones_like(value)
            if padding != "none":
                inputs[name][0, 3:] = 0
                inputs[name] = inputs[name].flip(1) if padding == "left" else inputs[name]
    if family == "roberta":
        inputs["input_ids"] = inputs["input_ids"].clamp(min=5).masked_fill(inputs["attention_mask"] == 0, 1)
    # The fast path of torch's own encoder writes 0 at padded places.
    torch.backends.mha.set_fastpath_enabled(False)
    with torch.no_grad():
        answer = model(**inputs)
    torch.backends.mha.set_fastpath_enabled(True)
    expected = answer if isinstance(answer, torch.Tensor) else answer.logits
    assert torch.allclose(run(compiled(family, implementation, mask=True), **inputs)[0], expected, atol=1e-5)


@pytest.mark.parametrize(("family", "implementation"), [case for case in MASKED if case[0] != "roberta"])
def test_a_mask_may_be_secret(family, implementation):
    model, inputs = FAMILIES[family](implementation, padding_mask=True)
    secret = tuple(name for name in inputs if name.endswith("attention_mask"))
    program = lower(capture(model, inputs, Options(secret=secret)))
    verify(program)
    assert max_error(program) < 1e-5


def test_bert_is_these_operations():
    expected = {
        "embedding": 3,
        "add": 6,
        "layer_norm": 5,
        "linear": 14,
        "reshape": 9,
        "permute": 10,
        "mul": 2,
        "matmul": 4,
        "softmax": 2,
        "gelu": 2,
        "take": 1,
        "tanh": 1,
    }
    assert calls(compiled("bert", "sdpa", mask=False)) == expected
    assert calls(compiled("bert", "eager", mask=False)) == expected
    masked = calls(compiled("bert", "sdpa", mask=True))
    assert {name: count for name, count in masked.items() if not name.startswith("aten")} == expected


def test_lowering_leaves_the_captured_program_alone():
    program = captured(torch.relu, seeded(3))
    lower(program)
    assert calls(program) == {"aten.relu.default": 1}


def test_weights_stay_secret_and_constants_public():
    program = compiled("gpt2", "sdpa", mask=False)
    assert "transformer_h_0_attn_c_attn_weight_transposed" in program.secret_attributes
    assert not [name for name in program.secret_attributes if name.startswith("constant")]


def test_one_error_lists_every_operation_that_cannot_be_made_private():
    program = captured(lambda x: torch.cumsum(torch.erfinv(x), 0) + x.sort().values, torch.zeros(3))
    with pytest.raises(UnsupportedOp) as caught:
        lower(program)
    text = str(caught.value)
    assert text.startswith("3 operations on secret values cannot be made private:")
    for name in ("aten.erfinv.default", "aten.cumsum.default", "aten.sort.default"):
        assert f"{name} at <model> (programs.py:" in text
    assert "Add a rule in mpccompile/lowering/<family>.py, see CONTRIBUTING" in text


def test_a_value_too_large_for_fixed_point_is_refused():
    with pytest.raises(UnsupportedOp, match=r"where .*: the constant -inf has no fixed-point form"):
        lower(captured(lambda x: torch.relu(x).masked_fill(torch.tensor([True, False]), -torch.inf), seeded(2)))


def test_public_values_stay_in_plaintext():
    program = lowered(lambda x, y: x * torch.cumsum(torch.exp(y), 0), seeded(3), seeded(3), public="y")
    assert calls(program) == {"aten.exp.default": 1, "aten.cumsum.default": 1, "mul": 1}
