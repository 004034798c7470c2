"""The graphs that a package keeps are those that its passes left, and the same each time."""

from __future__ import annotations

import pytest

from mpccompile import compiler
from mpccompile.codegen import package as packages
from mpccompile.codegen.graphs import FILE, stage_names
from mpccompile.options import Options
from tests import models


@pytest.mark.parametrize("target", ["mpccompile", "crypten"])
def test_stages_are_the_programs_after_each_pass(tmp_path, target):
    model, inputs = models.mlp()
    texts = []
    options = Options(target=target)

    def observe(program, record):
        texts.append([node.name for node in program.graph.nodes if node.op in ("placeholder", "call_function")])

    passes = compiler.passes_for(options)
    package = compiler.build(model, inputs, tmp_path / "one", options=options, passes=passes, observer=observe)
    graphs = packages.read_graphs(package.folder)
    assert [[row.name for row in seen] for seen in graphs.stages.values()][1:] == texts
    assert {graphs.lines[name] for name in graphs.lines} >= {statement.line for statement in package.statements}
    compiler.build(model, inputs, tmp_path / "two", options=options, passes=passes)
    assert (tmp_path / "one" / FILE).read_bytes() == (tmp_path / "two" / FILE).read_bytes()
    assert (tmp_path / "one" / "manifest.json").read_bytes() == (tmp_path / "two" / "manifest.json").read_bytes()


def test_a_pass_that_runs_again_is_numbered():
    assert stage_names(["a", "b", "a", "a"]) == ["a", "b", "a.2", "a.3"]
