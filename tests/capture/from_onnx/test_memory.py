"""A large file takes few times its size in memory, from the first byte read to the last one written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.capture.from_onnx.cases import file_of

STATUS = Path("/proc/self/status")
WIDTH = 5000
# One weight is all there is to the file, so that the worst case of each stage counts whole. It is held as it was read,
# turned round, and with the scale of the norm in it; then its bounds, the older two being gone.
MOST = 3.6
BUILD = """
import sys
from pathlib import Path

import torch

from mpccompile import compiler
from mpccompile.capture.from_onnx.examples import made_up
from mpccompile.capture.from_onnx.model import OnnxModel
from mpccompile.options import Options

torch.set_num_threads(1)


def memory(line):
    (found,) = [each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith(line)]
    return 1024 * int(found.split()[1])


def build(path):
    model = OnnxModel.read(path)
    first, *others = made_up(model, {})
    compiler.build(model, first, Path(path).with_suffix(""), options=Options(), calibration=others)


small, large = sys.argv[1:]
build(small)  # whatever is imported is imported by now
before = memory("VmRSS")
build(large)
print(memory("VmHWM") - before)
"""


def saved(path, width):
    """Write a norm and a linear layer, the weight [in, out] in a file beside."""
    random = np.random.default_rng(0)
    vectors = {name: 1 + 0.1 * random.standard_normal(width, dtype=np.float32) for name in ("scale", "shift")}
    weight = random.standard_normal((width, width), dtype=np.float32) / np.float32(width**0.5)
    nodes = [
        helper.make_node("LayerNormalization", ["x", "scale", "shift"], ["n"]),
        helper.make_node("MatMul", ["n", "weight"], ["y"]),
    ]
    model = onnx.load(file_of(path, nodes, {"x": [2, width]}, ["y"], {**vectors, "weight": weight}))
    onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data")
    return weight.nbytes


@pytest.mark.skipif(not STATUS.exists(), reason="memory is read from /proc")
def test_a_file_is_compiled_in_a_few_times_its_size(tmp_path):
    small, large = tmp_path / "small.onnx", tmp_path / "large.onnx"
    saved(small, 8)
    size = saved(large, WIDTH)
    command = [sys.executable, "-c", BUILD, str(small), str(large)]

    def peak():
        return int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=200).stdout)

    # Most runs take 3.2 times the file. When Python looks for circles depends on how many objects there are, which is
    # not the same in every run: in few of them a copy outlives its use for a moment.
    assert any(peak() < MOST * size for _try in range(3))
