"""A softmax whose only reader weighs values with it becomes one attend, in real models too."""

from __future__ import annotations

import pytest

from mpccompile.ir import ops
from mpccompile.passes.fuse_softmax_matmul import fuse_softmax_matmul
from tests.passes.build import Builder, applied, calls, family, unchanged, values


@pytest.mark.parametrize("name", ["bert", "gpt2", "vit", "t5"])
def test_it_fires_at_every_attention_of_a_model(name):
    before = family(name)
    attentions = calls(before)["softmax"]
    after = calls(applied(fuse_softmax_matmul, before))
    assert attentions > 0
    assert after["attend"] == attentions
    assert "softmax" not in after
    assert after.get("matmul", 0) == calls(before)["matmul"] - attentions


def test_a_softmax_with_another_reader_stays_and_the_reason_is_told():
    build = Builder()
    scores, y = build.input("scores", values(2, 3, 4)), build.input("y", values(2, 4, 5))
    probabilities = build.call(ops.softmax, scores, None)
    program = build.program(build.call(ops.matmul, probabilities, y), build.call(ops.neg, probabilities))
    assert any("have other readers" in reason for reason in unchanged(fuse_softmax_matmul, program).skipped)


def test_root_mean_square_norms_are_found_in_models():
    # The family is lowered with that recogniser.
    for name in ("llama", "qwen2", "t5"):
        assert calls(family(name))["rms_norm"] > 0
        assert "rsqrt" not in calls(family(name))
