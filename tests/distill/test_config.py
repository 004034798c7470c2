"""Settings that mean nothing are refused; schedules are what their names say."""

from __future__ import annotations

import pytest

from mpccompile.distill.config import DistillationConfig, Stage
from mpccompile.errors import OptionError


def test_a_constant_rate_stays():
    assert [Stage(1, 0.1).factor(step, 4) for step in range(4)] == [1.0] * 4


def test_a_linear_rate_rises_and_falls():
    factors = [Stage(1, 0.1, "linear", 0.2).factor(step, 10) for step in range(10)]
    assert factors[:2] == [pytest.approx(1 / 3), pytest.approx(2 / 3)]
    assert factors[2] == 1.0
    assert factors[2:] == sorted(factors[2:], reverse=True)
    assert factors[-1] == pytest.approx(1 / 8)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Stage(0, 0.1),
        lambda: Stage(1, 0.0),
        lambda: Stage(1, 0.1, "cosine"),
        lambda: Stage(1, 0.1, warmup=1.0),
        lambda: DistillationConfig(layers=None, logits=None),
        lambda: DistillationConfig(select="best"),
        lambda: DistillationConfig(precision="float16"),
        lambda: DistillationConfig(temperature=0.0),
        lambda: DistillationConfig(holdout=1.0),
        lambda: DistillationConfig(evaluate_steps=0),
    ],
)
def test_what_means_nothing_is_refused(wrong):
    with pytest.raises(OptionError):
        wrong()


def test_the_papers_quirks_are_off_until_asked_for():
    plain, paper = DistillationConfig(), DistillationConfig.mpcformer(layer_epochs=7, seed=1)
    assert (plain.layers, plain.logits) == (Stage(10, 5e-5), Stage(5, 1e-5, "linear", 0.1))
    assert not any(
        (plain.count_padding, plain.mean_over_classes, plain.regression_on_labels, plain.teacher_dropout, plain.dropout)
    )
    assert paper.count_padding
    assert paper.mean_over_classes
    assert paper.regression_on_labels
    assert paper.teacher_dropout == paper.dropout == 0.1
    assert (paper.select, paper.evaluate_steps, paper.seed) == ("metric", 100, 1)
    assert paper.layers == Stage(7, 5e-5)
