"""Weights are written from where they lie, whatever memory they share."""

from __future__ import annotations

import torch
from safetensors.torch import load_file, save_file

from mpccompile.codegen.package import _apart


def test_what_shares_memory_is_copied_and_nothing_else_is(tmp_path):
    table, other = torch.arange(6.0).reshape(2, 3), torch.ones(2)
    held = {"table": table, "head": table, "row": table[1], "other": other}
    apart = _apart(held)
    assert {name for name in held if apart[name].data_ptr() == held[name].data_ptr()} == {"table", "other"}
    save_file(apart, tmp_path / "weights.safetensors")
    read = load_file(tmp_path / "weights.safetensors")
    assert all(torch.equal(read[name], value) for name, value in held.items())
