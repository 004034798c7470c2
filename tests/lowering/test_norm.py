"""Normalisations, over one trailing dim or several; batch norm is folded into a factor and a shift."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from mpccompile.capture.from_torch import capture
from mpccompile.errors import UnsupportedOp
from mpccompile.ir.verify import max_error
from mpccompile.lowering.lower import lower
from tests.lowering.programs import EXACT, calls, lowered, seeded

X = seeded(2, 3, 4)


def test_layer_norm_with_and_without_weights():
    assert calls(lowered(lambda x, w, b: functional.layer_norm(x, (4,), w, b), X, w=seeded(4), b=seeded(4))) == {
        "layer_norm": 1
    }
    assert calls(lowered(lambda x: functional.layer_norm(x, (4,)), X)) == {"layer_norm": 1}


def test_layer_norm_over_two_dims_is_reshaped_around():
    program = lowered(lambda x, w: functional.layer_norm(x, (3, 4), w), X, w=seeded(3, 4))
    assert calls(program) == {"reshape": 3, "layer_norm": 1}


def test_rms_norm():
    assert calls(lowered(lambda x, w: functional.rms_norm(x, (4,), w, 1e-6), X, w=seeded(4)))["rms_norm"] == 1
    assert calls(lowered(lambda x: functional.rms_norm(x, (4,)), X))["rms_norm"] == 1


def test_batch_norm_is_a_factor_and_a_shift():
    model = nn.Sequential(nn.BatchNorm1d(3)).eval()
    with torch.no_grad():
        for tensor in (*model[0].parameters(), model[0].running_mean, model[0].running_var):
            tensor.copy_(seeded(3).abs() + 0.1)
    program = lower(capture(model, (X,)))
    assert max_error(program) < EXACT
    assert calls(program) == {"mul": 1, "add": 1}
    assert program.secret_attributes == {"0_factor", "0_shift"}


def test_batch_norm_without_weights_or_statistics():
    assert max_error(lower(capture(nn.Sequential(nn.BatchNorm1d(3, affine=False)), (X,)))) < EXACT
    with pytest.raises(UnsupportedOp):
        lower(capture(nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False)), (X,)))


def test_group_norm():
    program = lowered(lambda x, w, b: functional.group_norm(x, 2, w, b), seeded(2, 4, 3), w=seeded(4), b=seeded(4))
    assert calls(program)["layer_norm"] == 1
