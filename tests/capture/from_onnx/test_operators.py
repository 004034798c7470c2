"""Every operator computes what ONNX's own test cases say, and is private where it is said to be."""

from __future__ import annotations

import re

import onnx
import pytest
import torch
from onnx import helper

from mpccompile.capture.from_onnx.families import OPERATORS
from mpccompile.capture.from_torch import capture
from mpccompile.errors import CaptureFailed, UnsupportedOp
from mpccompile.ir.verify import max_error, verify
from mpccompile.lowering.lower import lower
from mpccompile.options import Options
from tests.capture.from_onnx.cases import FLOAT, array_of, documented, made, model_of, tensor_of

OWN = sorted(name for name in OPERATORS if "." not in name and name != "SimplifiedLayerNormalization")
PRIVATE = [name for name in OWN if OPERATORS[name].private and not OPERATORS[name].shape_only]
PUBLIC = [name for name in OWN if not OPERATORS[name].private]
# Parts of the names of cases that have to be refused, by operator, for what they ask for.
REFUSED = {
    "Attention": ("qk_matmul", "local_window_gqa_rank4_mask"),
    "AveragePool": ("dilations",),
    "BatchNormalization": ("training",),
    "Cast": ("FLOAT8", "FLOAT4", "INT4", "INT2", "E8M0", "STRING"),
    "CastLike": ("FLOAT8", "FLOAT4", "INT4", "INT2", "E8M0", "STRING"),
    "ConvTranspose": ("output_shape", "kernel_shape", "autopad_same"),
    "Dropout": ("training",),
    "ReduceMax": ("empty_set",),
    "ReduceMin": ("empty_set",),
    "Resize": ("antialias", "tf_crop_and_resize"),
}
# Operators whose further operands are stored in the file: weights, and how many times as large an image becomes.
WEIGHTED = {
    "BatchNormalization",
    "Conv",
    "Gemm",
    "GroupNormalization",
    "InstanceNormalization",
    "PRelu",
    "Resize",
    "Upsample",
}
SCALED = {"Resize", "Upsample"}
# Private inside of a GELU only, which is tested with the models.
WITHIN = {"Erf"}
# Part of the name of a case in the form that is private, or that says most.
USUAL = {
    "Attention": "attention_4d",
    "Cast": "FLOAT16_to_FLOAT",
    "CastLike": "FLOAT16_to_FLOAT",
    "Pow": "pow_bcast_scalar",
    "Pad": "constant_pad",
    "Resize": "scales_linear",
    "Where": "where_example",
}
# What results in a shape that depends on values has no form in a captured graph at all.
AT_IMPORT = {"Compress", "NonZero"}
BOOL = onnx.TensorProto.BOOL
# Operators that take whole numbers or truth values only.
NO_FLOATS = {
    "And",
    "BitShift",
    "BitwiseAnd",
    "BitwiseOr",
    "BitwiseXor",
    "ConstantOfShape",
    "Equal",
    "Not",
    "Or",
    "Range",
    "Trilu",
    "Xor",
}


@pytest.mark.parametrize("name", OWN)
def test_an_operator_does_what_its_documentation_says(name):
    done = 0
    for case in documented()[name]:
        if any(part in case.name for part in REFUSED.get(name, ())):
            with pytest.raises((UnsupportedOp, CaptureFailed)):
                _run(name, case)
        else:
            _check(case, _run(name, case))
            done += 1
    assert done


def _run(name, case):
    model, inputs = model_of(case, inputs=1 if name in SCALED else None)
    with torch.no_grad():
        return list(model(**inputs).values())


def _check(case, answers):
    inputs, outputs = ([array_of(value) for value in values] for values in case.data_sets[0])
    rough = any(str(array.dtype) in ("float16", "bfloat16") for array in [*inputs, *outputs])
    tolerance = 5e-3 if rough else 1e-4
    for answer, array in zip(answers, outputs[: len(answers)], strict=True):
        wanted = tensor_of(array)
        assert answer.shape == wanted.shape, case.name
        torch.testing.assert_close(
            answer.double(), wanted.double(), rtol=tolerance, atol=tolerance, equal_nan=True, msg=case.name
        )


class Together(torch.nn.Module):
    """One case of each of some operators, captured at once: a capture costs as much as hundreds of nodes."""

    def __init__(self, cases):
        super().__init__()
        self.inputs, self.parts = {}, torch.nn.ModuleDict()
        for name, (model, inputs) in cases.items():
            self.parts[name] = model.bound(inputs)
            self.inputs |= {f"{name}_{argument}": value for argument, value in inputs.items()}

    def forward(self, **inputs):
        answers = {}
        for name, part in self.parts.items():
            own = {key.partition("_")[2]: value for key, value in inputs.items() if key.partition("_")[0] == name}
            answers |= {f"{name}_{key}": value.clone() for key, value in part(**own).items()}
        return answers


def _lowered(cases):
    model = Together(cases)
    return lower(capture(model, model.inputs, Options(secret=tuple(model.inputs))))


def _cases(names):
    """Return the first usual case of each operator with floats."""
    found = {}
    for name in names:
        for case in documented()[name]:
            unusual = USUAL.get(name, "") not in case.name or any(part in case.name for part in REFUSED.get(name, ()))
            if name in found or unusual:
                continue
            model, inputs = model_of(case, inputs=1 if name in WEIGHTED else None)
            if inputs:
                found[name] = (model, inputs)
    return found


def test_an_operator_that_is_said_to_be_private_is_lowered():
    names = {name for name in PRIVATE if name not in WITHIN | NO_FLOATS}
    cases = _cases(names)
    assert set(cases) == names
    program = _lowered(cases)
    verify(program)
    assert max_error(program) < 1e-4


def test_an_operator_that_is_said_to_be_public_is_refused_on_secrets():
    names = {name for name in PUBLIC if name not in NO_FLOATS | AT_IMPORT}
    cases = _cases(names)
    assert set(cases) == names
    with pytest.raises(UnsupportedOp) as refused:
        _lowered(cases)
    told = set(re.findall(r"parts\.(\w+)\.", str(refused.value)))
    assert names - told == set()


@pytest.mark.parametrize("name", sorted(AT_IMPORT))
def test_what_has_no_shape_beforehand_is_refused_at_import(name):
    graph = helper.make_graph(
        [helper.make_node(name, ["x", "y"][: 2 if name == "Compress" else 1], ["z"])],
        "graph",
        [helper.make_tensor_value_info("x", FLOAT, [3]), helper.make_tensor_value_info("y", BOOL, [3])],
        [helper.make_tensor_value_info("z", FLOAT, None)],
    )
    with pytest.raises(UnsupportedOp, match="depends on"):
        made(graph).bound({"x": torch.ones(3), "y": torch.ones(3, dtype=torch.bool)})
