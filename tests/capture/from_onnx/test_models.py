"""Files of both exporters of torch answer as onnxruntime does, and cost what captured models cost."""

from __future__ import annotations

import onnx
import onnxruntime
import pytest
import torch
from onnxruntime.transformers.optimizer import optimize_model

from mpccompile import compiler
from mpccompile.capture.from_onnx.capture import capture
from mpccompile.capture.from_onnx.model import OnnxModel
from mpccompile.ir.cost import total_cost
from mpccompile.ir.program import origin_of
from mpccompile.ir.verify import verify
from mpccompile.lowering.lower import lower
from mpccompile.options import Options
from mpccompile.passes.driver import run_passes
from tests.capture.from_onnx.exported import NEW, OLD, Plain, answer_of, export, sample, save

# The newer exporter writes opset 18 and up; it does not take T5 with sdpa, nor the older one a decoder without a mask.
EXPORTS = [
    ("bert", "sdpa", True, OLD, 14),
    ("bert", "sdpa", True, NEW, 20),
    ("bert", "eager", False, NEW, 23),
    ("roberta", "sdpa", True, OLD, 17),
    ("roberta", "sdpa", False, NEW, 20),
    ("distilbert", "eager", True, OLD, 20),
    ("gpt2", "sdpa", True, OLD, 17),
    ("gpt2", "eager", False, NEW, 23),
    ("llama", "sdpa", False, NEW, 23),
    ("llama", "eager", True, OLD, 14),
    ("qwen2", "sdpa", True, NEW, 20),
    ("t5", "sdpa", True, OLD, 17),
    ("t5", "eager", False, NEW, 20),
    ("bart", "sdpa", True, OLD, 14),
    ("bart", "eager", True, NEW, 20),
    ("vit", "sdpa", False, NEW, 20),
    ("vit", "eager", False, OLD, 14),
    ("torch_encoder", "sdpa", True, OLD, 17),
    ("cnn", "sdpa", False, NEW, 23),
    ("cnn", "sdpa", False, OLD, 14),
]
# Those whose bytes and rounds are compared too: a compilation takes some seconds.
COMPARED = [EXPORTS[0], EXPORTS[1]]
NEAR = 1e-4


def difference(values, wanted):
    return max(float((value - other).detach().abs().max()) for value, other in zip(values, wanted, strict=True))


@pytest.mark.parametrize("case", EXPORTS, ids=lambda case: "-".join(map(str, case)))
def test_a_file_answers_as_onnxruntime_does(tmp_path, case):
    family, implementation, mask, exporter, opset = case
    model, inputs = sample(family, implementation, mask)
    path = save(tmp_path / "model.onnx", family, model, inputs, exporter, opset)
    wanted = answer_of(path, inputs)
    program = capture(OnnxModel.read(path), inputs)
    assert difference(program.reference, wanted) < NEAR
    lowered = lower(program)
    verify(lowered)
    assert difference(lowered.module(*lowered.example_inputs), wanted) < NEAR
    # Nothing points to the importer's own code.
    origins = [origin_of(node) for node in lowered.graph.nodes if node.op == "call_function"]
    assert not [origin for origin in origins if "onnx_nodes" in str(origin) or ".py" in origin.source]
    assert all(origin.source for origin in origins)


def optimised(model, inputs):
    program = compiler.recognise(model, inputs, Options())
    return run_passes(compiler.approximate(program, Options()), compiler.EXACT_PASSES)


@pytest.mark.parametrize("case", COMPARED, ids=lambda case: "-".join(map(str, case)))
def test_a_file_costs_what_the_captured_model_costs(tmp_path, case):
    family, implementation, mask, exporter, opset = case
    model, inputs = sample(family, implementation, mask)
    path = save(tmp_path / "model.onnx", family, model, inputs, exporter, opset)
    imported, captured = (total_cost(optimised(each, inputs)) for each in (OnnxModel.read(path), model))
    assert imported.bytes_sent <= captured.bytes_sent
    assert imported.rounds <= captured.rounds


# What onnxruntime writes where it is asked to keep what it made of a file, by family and level.
OPTIMISED = [
    ("bert", "eager", True, OLD, 17, "BASIC", set()),
    ("bert", "eager", True, OLD, 17, "EXTENDED", {"SkipLayerNormalization", "Gelu", "FusedGemm", "FusedMatMul"}),
    ("llama", "eager", True, OLD, 17, "ALL", {"SimplifiedLayerNormalization", "QuickGelu"}),
    ("cnn", "sdpa", False, NEW, 20, "EXTENDED", {"FusedConv"}),
]


@pytest.mark.parametrize("case", OPTIMISED, ids=lambda case: f"{case[0]}-{case[5].lower()}")
def test_a_file_that_onnxruntime_optimised_answers_as_the_one_it_was(tmp_path, case):
    family, implementation, mask, exporter, opset, level, expected = case
    model, inputs = sample(family, implementation, mask)
    path = save(tmp_path / "model.onnx", family, model, inputs, exporter, opset)
    fused = tmp_path / "fused.onnx"
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    options.optimized_model_filepath, options.log_severity_level = str(fused), 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    graphs = [onnx.load(each).graph for each in (path, fused)]
    assert expected <= {node.op_type for node in graphs[1].node}
    assert len(graphs[1].node) < len(graphs[0].node)
    program = lower(capture(OnnxModel.read(fused), inputs))
    verify(program)
    assert difference(program.module(*program.example_inputs), answer_of(path, inputs)) < NEAR


def test_a_file_of_onnxruntimes_fusions_answers_as_it_does(tmp_path):
    model, inputs = sample("bert", "eager", padding_mask=True)
    path = save(tmp_path / "model.onnx", "bert", model, inputs, OLD, 17)
    fused = optimize_model(str(path), "bert", num_heads=2, hidden_size=16, opt_level=0)
    fused.save_model_to_file(str(tmp_path / "fused.onnx"))
    ops = {node.op_type for node in fused.model.graph.node}
    assert ops >= {"Attention", "SkipLayerNormalization", "BiasGelu"}
    wanted = answer_of(tmp_path / "fused.onnx", inputs)
    program = lower(capture(OnnxModel.read(tmp_path / "fused.onnx"), inputs))
    verify(program)
    assert difference(program.module(*program.example_inputs), wanted) < NEAR


def test_weights_keep_their_paths_and_nodes_their_modules(tmp_path):
    model, inputs = sample("bert", "sdpa", True)
    path = save(tmp_path / "model.onnx", "bert", model, inputs, OLD, 17)
    program = capture(OnnxModel.read(path), inputs)
    assert "model.bert.encoder.layer.0.attention.self.query.bias" in program.secret_attributes
    # The exporter stores the transposed weight without a name.
    assert "model.bert.encoder.layer.0.attention.self.query.weight" in program.secret_attributes
    origins = {str(origin_of(node)) for node in program.graph.nodes}
    place = "model.bert.encoder.layer.1.output.dense"
    assert f"{place} (/model/bert/encoder/layer.1/output/dense/MatMul)" in origins


def test_the_same_module_takes_inputs_of_every_shape_that_the_file_leaves_open(tmp_path):
    model, inputs = sample("bert", "sdpa", True)
    path = tmp_path / "model.onnx"
    axes = {name: {0: "batch", 1: "length"} for name in inputs}
    export(path, Plain(model, list(inputs)), inputs, OLD, 17, dynamic_axes=axes)
    imported = OnnxModel.read(path)
    for batch, length in ((1, 4), (3, 5)):
        ids = torch.randint(5, 50, (batch, length))
        mask = torch.ones_like(ids)
        given = {"input_ids": ids, "attention_mask": mask}
        with torch.no_grad():
            wanted = model(**given).logits
        program = lower(capture(imported, given))
        verify(program)
        assert difference(program.reference, [wanted]) < NEAR
        assert difference(imported(**given).values(), [wanted]) < NEAR
