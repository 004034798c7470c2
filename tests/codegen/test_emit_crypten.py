import ast

import pytest
import torch
from torch import nn

from mpccompile import compiler
from mpccompile.capture.from_torch import capture
from mpccompile.codegen.emit_crypten import emit_crypten
from mpccompile.errors import OptionError, UnsupportedOp
from mpccompile.lowering.lower import lower
from mpccompile.options import Options
from mpccompile.passes.driver import run_passes
from mpccompile.passes.replace_functions import replace_functions
from tests import models

STOCK = Options(target="crypten")


def program_of(model, inputs):
    return run_passes(lower(capture(model, inputs, STOCK)), compiler.RECOGNISERS)


def emitted(model, inputs):
    return emit_crypten(program_of(model, inputs), STOCK)


@pytest.fixture(scope="module")
def program():
    return program_of(*models.bert(padding_mask=True))


@pytest.fixture(scope="module")
def bert(program):
    return emit_crypten(program, STOCK)


def test_program_needs_crypten_and_torch_alone(bert):
    tree = ast.parse(bert.source)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imports] == ["import crypten", "import torch"]


def test_program_is_one_module_of_crypten(bert):
    classes = [node for node in ast.parse(bert.source).body if isinstance(node, ast.ClassDef)]
    assert [ast.unparse(base) for node in classes for base in node.bases] == ["crypten.nn.Module"]
    assert classes[0].name == bert.class_name == "BertForSequenceClassification"


def test_header_states_the_ranges_of_stock_functions(bert):
    assert "erf: within 1.2" in ast.get_docstring(ast.parse(bert.source))


def test_statements_name_their_lines(bert):
    lines = bert.source.splitlines()
    for statement in bert.statements:
        assert lines[statement.line - 1].split(" = ")[0].strip() == statement.node
    gelu = [row for row in bert.statements if row.op == "gelu"]
    assert len(gelu) == models.LAYERS
    assert gelu[0].module_path == "bert.encoder.layer.0.intermediate.intermediate_act_fn"


def test_only_the_compositions_that_are_called_are_written(bert):
    assert [node.name for node in ast.parse(bert.source).body if isinstance(node, ast.FunctionDef)] == [
        "stock_gelu",
        "stock_layer_norm",
        "stock_softmax",
    ]
    assert "def stock" not in emitted(*models.mlp()).source


def test_secret_tokens_are_one_hot_rows(bert):
    assert f"ONE_HOT = {{'input_ids': {models.VOCAB}}}" in bert.source
    assert "input_ids.matmul(w['bert.embeddings.word_embeddings.weight'])" in bert.source


@pytest.mark.parametrize(
    ("forms", "spelling"),
    [("tanh", "inner.tanh()"), ("erf", ".erf()")],
)
def test_gelu_is_written_as_asked(program, forms, spelling):
    assert spelling in emit_crypten(program, Options(target="crypten", stock_forms=forms)).source


def test_mpcformers_functions_have_no_exponential(program):
    chosen = replace_functions(program, Options(target="crypten", gelu="quad", softmax="2quad"))
    source = emit_crypten(chosen, STOCK).source
    assert source.count("= stock_quadratic(") == source.count("= stock_softmax_2quad(") == models.LAYERS
    assert "shifted.square()" in source
    assert ".softmax(-1)" not in source
    assert "stock_gelu" not in source


def test_each_softmax_is_written_in_its_form(program):
    chosen = replace_functions(program, Options(target="crypten", softmax={"*.layer.0.*": "2relu"}))
    source = emit_crypten(chosen, STOCK).source
    assert source.count("= stock_softmax_2relu(") == source.count("= stock_softmax(") == 1
    assert "stock_softmax_2quad" not in source


class Rearranged(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(7, 4)

    def forward(self, ids):
        return self.table(ids.T[1:].reshape(-1))


def test_one_hot_rows_follow_views_of_the_tokens():
    found = emitted(Rearranged(), {"ids": torch.randint(7, (2, 3))})
    assert "ONE_HOT = {'ids': 7}" in found.source
    assert "ids.permute((1, 0, 2))" in found.source
    assert ".reshape((4, 7))" in found.source


class TwoTables(nn.Module):
    def __init__(self):
        super().__init__()
        self.short, self.long = nn.Embedding(5, 4), nn.Embedding(7, 4)

    def forward(self, ids):
        return self.short(ids) + self.long(ids)


def test_tokens_looked_up_in_tables_of_two_lengths_are_refused():
    with pytest.raises(UnsupportedOp, match="one-hot"):
        emitted(TwoTables(), {"ids": torch.randint(5, (2, 3))})


class NumberAndToken(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 4)

    def forward(self, ids):
        return self.table(ids) * ids.unsqueeze(-1)


def test_tokens_also_used_as_numbers_are_refused():
    with pytest.raises(UnsupportedOp, match="one-hot"):
        emitted(NumberAndToken(), {"ids": torch.randint(5, (2, 3))})


def test_another_device_is_refused(program):
    with pytest.raises(OptionError, match="cpu"):
        emit_crypten(program, Options(target="crypten", device="cuda"))


def test_rank_zero_as_dealer_exists_for_stock_crypten_only():
    with pytest.raises(OptionError, match="insecure-local"):
        Options(dealer="insecure-local")
    assert Options(target="crypten", dealer="insecure-local").dealer == "insecure-local"
