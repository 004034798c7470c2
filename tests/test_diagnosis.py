"""A pass that breaks the model is named, and the operation where it does."""

from __future__ import annotations

import json

import pytest
import torch

import mpccompile
from mpccompile.capture.from_torch import capture
from mpccompile.errors import PassFailed
from mpccompile.ir import ops
from mpccompile.ir.edit import edited
from mpccompile.lowering.lower import lower
from mpccompile.passes.driver import run_passes
from tests import models

LAYER = "bert.encoder.layer.1"


def at(node, path):
    return node.meta["origin"].module_path.startswith(path)


def lose_a_bias(program):
    """Leave the bias out of the last layer's first linear inside its feed-forward part."""
    edit = edited(program)
    for node in edit.nodes:
        if node.target is ops.linear and at(node, f"{LAYER}.intermediate"):
            edit.change(node, bias=None)
    return edit.done()


def scale_a_weight(program):
    """Store another weight under the same name: no text of the graph changes."""
    edit = edited(program)
    for node in edit.nodes:
        if node.target is ops.linear and at(node, f"{LAYER}.output"):
            weight = node.args[1]
            edit.change(node, weight=edit.weight(weight, node, 1.1 * edit.data(weight)))
    return edit.done()


def put_a_product_in_between(program):
    """Insert an operation that is not there in the model."""
    edit = edited(program)
    (classifier,) = [node for node in edit.nodes if node.target is ops.linear and at(node, "classifier")]
    edit.change(classifier, x=edit.call(classifier, ops.mul, classifier.args[0], 1.01))
    return edit.done()


def scale_and_scale_back(program):
    """Change a value on purpose, and undo it: nothing is wrong."""
    edit = edited(program)
    for node in edit.nodes:
        if node.target is ops.gelu:
            double = edit.call(node, ops.mul, node.args[0], 2.0, like=node)
            edit.change(node, x=edit.call(node, ops.mul, double, 0.5, like=node))
    return edit.done()


def stumble(program):
    """Fail."""
    raise KeyError(program.name)


def add_a_bias_to_itself(program):
    """Leave a value of another shape, which a later operation cannot take."""
    edit = edited(program)
    for node in edit.nodes:
        if node.target is ops.add and at(node, f"{LAYER}.attention"):
            (bias,) = [each for each in edit.nodes if str(each.target).endswith("layer.1.output.dense.bias")]
            edit.change(node, x=bias, y=bias)
    return edit.done()


def spoil_a_weight_in_place(program):
    """Change what it was given, which no later comparison with it can tell."""
    edit = edited(program)
    (node,) = [node for node in edit.nodes if node.target is ops.linear and at(node, "classifier")]
    with torch.no_grad():
        program.module.get_parameter(node.args[1].target).mul_(1.5)
    edit.change(node, bias=node.args[2])
    return edit.done()


@pytest.fixture(scope="module")
def sample():
    return models.bert()


def found(sample, *passes, **options):
    return mpccompile.diagnose(*sample, passes=passes, **options)


def test_nothing_is_wrong_with_our_own_passes(sample):
    diagnosis = found(sample, scale_and_scale_back)
    assert diagnosis.broken == ()
    assert [stage.name for stage in diagnosis.stages][:2] == ["captured", "recognise_gelu"]
    assert diagnosis.stages[-1].changes == models.LAYERS
    assert all(stage.error is None or stage.error <= diagnosis.allowed for stage in diagnosis.stages)
    assert diagnosis.text().endswith("\nNo pass breaks the model.\n")


@pytest.mark.parametrize(
    ("broken", "module", "op"),
    [
        (lose_a_bias, f"{LAYER}.intermediate.dense", "linear"),
        (scale_a_weight, f"{LAYER}.output.dense", "linear"),
        (put_a_product_in_between, "classifier", "mul"),
    ],
)
def test_the_pass_and_the_operation_are_named(sample, broken, module, op):
    diagnosis = found(sample, scale_and_scale_back, broken)
    (it,) = diagnosis.broken
    assert (it.stage, it.module_path, it.op) == (broken.__name__, module, op)
    assert it.error > 1e-3
    assert it.after in it.edited
    assert f"%{it.node} = {op} at {module}" in diagnosis.text()
    assert [stage.name for stage in diagnosis.stages if stage.broke] == [broken.__name__]


def test_a_graph_that_cannot_be_run_is_told_with_the_operation_that_fails(sample):
    diagnosis = found(sample, add_a_bias_to_itself, scale_and_scale_back)
    (it,) = diagnosis.broken
    assert it.what.startswith("broke the graph: RuntimeError: ")
    assert (it.stage, it.op, it.error) == ("add_a_bias_to_itself", "reshape", None)
    assert it.module_path == "bert.pooler"
    assert all(LAYER in text for text in it.edited)
    assert it.edited
    assert json.dumps(diagnosis.to_json(), allow_nan=False)
    assert diagnosis.stages[-1].name == "scale_and_scale_back"
    assert not diagnosis.stages[-1].broke
    with pytest.raises(PassFailed, match=r"The pass add_a_bias\w+ broke the graph: %\w+ fails with IndexError"):
        run_passes(lower(capture(*sample)), [add_a_bias_to_itself])


def test_others_are_judged_without_the_broken_one(sample):
    diagnosis = found(sample, lose_a_bias, scale_and_scale_back, stumble, scale_a_weight)
    assert [it.stage for it in diagnosis.broken] == ["lose_a_bias", "stumble", "scale_a_weight"]
    assert diagnosis.broken[1].what == "failed: The pass stumble failed with KeyError: 'BertForSequenceClassification'."
    assert diagnosis.broken[2].module_path == f"{LAYER}.output.dense"


def test_what_a_pass_spoils_in_place_is_found():
    diagnosis = found(models.bert(), spoil_a_weight_in_place)
    (it,) = diagnosis.broken
    assert (it.stage, it.module_path, it.op) == ("spoil_a_weight_in_place", "classifier", "linear")


def test_answers_may_change_where_they_are_meant_to(sample):
    diagnosis = found(sample, lose_a_bias, gelu="quad")
    (it,) = diagnosis.broken
    assert it.stage == "lose_a_bias"
    (replaced,) = [stage for stage in diagnosis.stages if stage.name == "replace_functions"]
    assert (replaced.changes, replaced.error, replaced.broke) == (models.LAYERS, None, False)


def test_the_text_is_the_same_each_time(sample):
    assert found(sample, lose_a_bias).text() == found(models.bert(), lose_a_bias).text()


def lose_all_numbers(program):
    """Make every value infinite or none."""
    edit = edited(program)
    node = next(node for node in edit.nodes if node.target is ops.linear)
    edit.change(node, weight=edit.weight(node.args[1], node, edit.data(node.args[1]) * float("nan")))
    return edit.done()


def test_what_is_infinitely_wrong_is_json_all_the_same(sample):
    told = found(sample, stumble, lose_all_numbers)
    assert told.drawn == 1
    assert json.loads(json.dumps(told.to_json(), allow_nan=False))["broken"][1]["error"] is None
    assert "inf" in told.broken[1].what
