"""Settings of a distillation as texts."""

from __future__ import annotations

import itertools

import pytest

from mpccompile.commands.settings import config_of
from mpccompile.distill.config import Stage
from mpccompile.errors import OptionError


def test_settings_are_fields_of_the_config():
    config = config_of(
        ["seed=3", "layers.epochs=20", "logits=none", "labels.epochs=2", "device=cuda", "count_padding=true"]
    )
    assert (config.seed, config.layers, config.logits) == (3, Stage(20, 5e-5), None)
    assert (config.labels, config.device, config.count_padding) == (Stage(2, 5e-5), "cuda", True)
    config = config_of(["holdout=0", "evaluate_steps=none", "temperature=2", "select=last", "logits.schedule=constant"])
    assert (config.holdout, config.evaluate_steps, config.temperature, config.select) == (0.0, None, 2.0, "last")
    assert type(config.temperature) is float


def test_their_order_does_not_matter():
    settings = ("layers=none", "logits=none", "labels.epochs=2", "labels.learning_rate=1e-3")
    configs = {config_of(order) for order in itertools.permutations(settings)}
    assert len(configs) == 1
    assert configs.pop().labels == Stage(2, 1e-3)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["seed"], "'seed' has no value. Write it as seed=1"),
        (["seed="], "'seed=' has no value"),
        (["seed=many"], "--set seed=many: seed is a whole number"),
        (["seed=1.5"], "seed is a whole number"),
        (["seed=none"], "seed is a whole number"),
        (["seed=true"], "seed is a whole number"),
        (["temperature=warm"], "temperature is a number"),
        (["count_padding=1"], "count_padding is true or false"),
        (["evaluate_steps=often"], "evaluate_steps is a whole number or none"),
        (["select=best"], "select is loss or metric or last"),
        (["layers=3"], "layers is set by its fields, as layers.epochs=20, or none"),
        (["layers.epochs=x"], "layers.epochs is a whole number"),
        (
            ["colour=1"],
            "colour is no setting of the distillation. The settings are layers, logits, labels",
        ),
        (["mpcformer=1"], "mpcformer is no setting"),
        (["layers.colour=1"], "colour is no setting of the stage layers. The settings are epochs, learning_rate"),
        (["seed.epochs=1"], "seed is no stage. The stages are layers, logits, labels"),
        (["layers.epochs=2", "layers=none"], "layers=none leaves the stage out"),
        (["layers=none", "logits=none"], "there is no stage to train"),
        (["layers.epochs=0"], "epochs=0 is below 1"),
    ],
)
def test_a_setting_that_means_nothing_is_told(settings, said):
    with pytest.raises(OptionError, match=said.replace(".", r"\.")):
        config_of(settings)
