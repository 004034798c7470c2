"""Something small to run privately, for the doctor."""

from __future__ import annotations

import torch
from torch import nn

import mpccompile


def run_privately() -> float:
    """Return the largest error of a small perceptron's private answer."""
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    inputs = torch.randn(2, 8)
    with torch.no_grad(), mpccompile.compile(model, example_inputs={"input": inputs}) as private:
        return float((private(input=inputs) - model(inputs)).abs().max())
