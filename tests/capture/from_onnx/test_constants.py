"""A weight is never taken for a constant; what is a constant is public."""

from __future__ import annotations

import pytest
import torch

from mpccompile.capture.from_onnx.constants import is_public

POSITIONS = torch.arange(8.0)[:, None]
FREQUENCIES = 1 / 10000 ** (torch.arange(4) / 4)
ANGLES = POSITIONS * FREQUENCIES
CAUSAL = torch.full((1, 1, 4, 4), -3.4e38).triu(1)

CONSTANTS = {
    "whole numbers": ("table", torch.arange(6)),
    "truth values": ("mask", torch.ones(2, 2, dtype=torch.bool)),
    "one number": ("two", torch.tensor(2.0)),
    "one number of an exporter": ("val_3", torch.tensor([2.0])),
    "a causal mask": ("slice", CAUSAL),
    "a triangle of ones": ("slice", torch.ones(4, 4).tril()),
    "angles": ("angles", ANGLES[None]),
    "cosines": ("cos", torch.cos(ANGLES)[None]),
    "sines": ("sin", torch.sin(torch.cat([ANGLES, ANGLES], -1))),
    "angles of which the first do not turn": ("angles", torch.stack([torch.zeros(8, 4), ANGLES])),
    "frequencies": ("f", FREQUENCIES[None, :, None]),
    "frequencies by name": ("rotary_emb.inv_freq", torch.tensor([0.9, 0.2, 0.05])),
}
WEIGHTS = {
    "a matrix": ("onnx::MatMul_3", torch.randn(4, 4)),
    "a fresh norm": ("norm.weight", torch.ones(4)),
    "a fresh bias": ("norm.bias", torch.zeros(4)),
    "a fresh matrix": ("lora.b", torch.zeros(4, 4)),
    "a fresh matrix of ones": ("scale", torch.ones(4, 4)),
    "one number with a path": ("model.scale", torch.tensor(2.0)),
    "one number in a vector": ("b2", torch.tensor([2.0])),
    "positions that were learned": ("positions", torch.randn(8, 4).clamp(-1, 1)),
    "cosines that are scaled": ("cos", 1.1 * torch.cos(ANGLES)),
    "a matrix that begins as angles do": ("positions", torch.cat([ANGLES[:3], torch.randn(5, 4)])),
    "a matrix that begins as cosines do": ("positions", torch.cat([torch.cos(ANGLES[:3]), torch.ones(5, 4)])),
    "a matrix that begins with 0 and 1": ("positions", torch.cat([torch.eye(8), torch.randn(1, 8)])),
    "a table of two positions": ("positions", torch.randn(2, 4).clamp(-1, 1)),
    "vectors that begin with 0": ("positions", torch.cat([torch.zeros(1, 4), torch.randn(7, 4)])),
    "two numbers": ("pair", torch.tensor([1.0, 0.3])),
}


@pytest.mark.parametrize("case", CONSTANTS)
def test_a_constant_is_public(case):
    name, value = CONSTANTS[case]
    assert is_public(name, value, literal=False)


@pytest.mark.parametrize("case", WEIGHTS)
def test_a_weight_is_secret(case):
    name, value = WEIGHTS[case]
    assert not is_public(name, value, literal=False)


def test_one_number_in_a_constant_node_is_public():
    assert is_public("b2", torch.tensor([2.0]), literal=True)
    assert not is_public("b2", torch.tensor([2.0, 3.0]), literal=True)
