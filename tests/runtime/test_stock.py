from contextlib import contextmanager

import pytest
import torch
from torch import nn

from mpccompile import compiler
from mpccompile.capture.from_torch import as_for_inference
from mpccompile.capture.outputs import keep
from mpccompile.codegen import processes
from mpccompile.errors import PartyLost
from mpccompile.ir.program import Secrecy
from mpccompile.options import Options
from mpccompile.runtime import stock
from mpccompile.runtime.session import Session
from tests import models


@pytest.fixture(scope="module")
def parties():
    session = Session(stock="TFP")
    yield session
    session.close()


@pytest.fixture
def run(parties, tmp_path):
    """Compile a model, run it on stock CrypTen and return its outputs, the model's own, and what it cost."""

    def run_one(model, inputs, parties=parties, **fields):
        options = Options(target="crypten", **fields)
        folder = tmp_path / type(model).__name__
        package = compiler.build(model, inputs, folder, options=options, passes=())
        parties.load(str(folder), folder)
        public = frozenset(spec.name for spec in package.inputs if spec.secrecy is Secrecy.PUBLIC)
        outputs, report = parties.run(str(folder), inputs, public)
        with as_for_inference(model):
            reference = keep(model(**inputs)).tensors
        return outputs, reference, report

    return run_one


def assert_close(outputs, reference, tolerance):
    for one, other in zip(outputs, reference, strict=True):
        torch.testing.assert_close(one, other, atol=tolerance, rtol=0)


# inv_sqrt is a few percent off at the variance of these models' embeddings, and every norm carries that on.
@pytest.mark.parametrize(("family", "tolerance"), [("bert", 0.05), ("vit", 0.05), ("cnn", 1e-3)])
def test_model_answers_as_in_plaintext(run, family, tolerance):
    outputs, reference, _ = run(*models.FAMILIES[family](padding_mask=family in models.HAS_PADDING_MASK))
    assert_close(outputs, reference, tolerance)


def test_rotary_positions_shared_heads_and_silu_answer_as_in_plaintext(run):
    model, inputs = models.llama()
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(5)  # into the range of inv_sqrt
    outputs, reference, _ = run(model, inputs)
    assert_close(outputs, reference, 0.05)


def test_attention_mask_may_be_secret(run):
    outputs, reference, _ = run(*models.bert(padding_mask=True), secret=("attention_mask",))
    assert_close(outputs, reference, 0.05)


class Mixed(nn.Module):
    """Secret and public operands on either side."""

    def __init__(self):
        super().__init__()
        self.register_buffer("constant", torch.linspace(-1, 1, 12).reshape(3, 4))
        self.table = nn.Embedding(9, 4)

    def forward(self, x, ids, keep):
        shifted = 1 - x + self.constant
        product = self.constant.T @ shifted
        rows = self.table(ids.T.reshape(-1)).mean(0, keepdim=True)
        chosen = torch.where(keep, product, self.constant[:1] * 2)
        joined = torch.cat([chosen, rows], 0)
        return joined, self.constant - shifted.sum(-1, keepdim=True), torch.where(keep, 0.5, product)


@pytest.fixture
def mixed():
    torch.manual_seed(0)
    inputs = {"x": torch.randn(3, 4), "ids": torch.randint(9, (2, 3)), "keep": torch.rand(4, 4) > 0.5}
    return Mixed().eval(), inputs


def test_public_operands_may_stand_on_either_side(run, mixed):
    outputs, reference, _ = run(*mixed, public=("keep",))
    assert_close(outputs, reference, 1e-3)


def test_table_may_be_public(run, mixed):
    outputs, reference, _ = run(*mixed, public=("keep",), embedding="public")
    assert_close(outputs, reference, 1e-3)


class Attention(nn.Module):
    """One head over inputs that are queries, keys and values at once."""

    def forward(self, x):
        return nn.functional.gelu(torch.softmax(x @ x.transpose(-1, -2), -1) @ x)


def test_mpcformer_computes_its_quadratics(run):
    x = torch.linspace(-1, 1, 15).reshape(1, 5, 3)
    outputs, _, _ = run(Attention(), {"x": x}, gelu="quad", softmax="2quad")
    weights = (x @ x.transpose(-1, -2) + 5).square()
    mixed = weights / weights.sum(-1, keepdim=True) @ x
    assert_close(outputs, [0.125 * mixed.square() + 0.25 * mixed + 0.5], 5e-3)


def test_2relu_of_a_row_without_a_positive_score_is_zero(run):
    x = torch.tensor([[[1.0, 0.5, -0.25], [0.5, 1.0, 0.5], [-1.5, -1.0, 0.25]]])
    outputs, _, _ = run(
        Attention(),
        {
            "x": x,
        },
        softmax="2relu",
    )
    weights = torch.relu(x @ x.transpose(-1, -2))
    mixed = weights / weights.sum(-1, keepdim=True) @ x
    assert_close(outputs, [torch.nn.functional.gelu(mixed)], 2e-2)


def test_report_keeps_triples_apart_and_adds_up(run):
    model, inputs = models.mlp()
    _, _, report = run(model, inputs)
    # Each linear opens its input and its weights, the ReLU goes beyond; 8 bytes a word.
    sent = {line: (one, two, rounds) for line, one, two, rounds in report.traffic}
    first = 8 * (inputs["input"].numel() + model[0].weight.numel())
    assert (first, first, 1) in sent.values()
    assert report.offline_bytes == 0
    assert report.offline_seconds == pytest.approx(sum(seconds for _, seconds in report.line_offline))
    assert 0 < report.offline_seconds < report.online_seconds
    assert min(report.peak_bytes) > 1e7


def test_third_party_makes_the_triples(run):
    third = Session(stock="TTP")
    try:
        outputs, reference, report = run(*models.mlp(), parties=third)
        assert_close(outputs, reference, 1e-3)
        assert report.offline_bytes > 0
        third._processes["dealer"].kill()
        with pytest.raises(PartyLost):
            third.run(next(iter(third._loaded)), models.mlp()[1], frozenset())
    finally:
        third.close()


def test_rank_zero_makes_triples_only_with_a_warning(monkeypatch):
    started = []
    monkeypatch.setattr(processes, "Session", lambda *_, stock="": started.append(stock))
    processes.session_for(Options(target="crypten"))
    with pytest.warns(UserWarning, match="could see every value"):
        processes.session_for(Options(target="crypten", dealer="insecure-local"))
    assert started == ["TTP", "TFP"]


@contextmanager
def counting(monkeypatch):
    counted = [stock.Spent()]
    monkeypatch.setattr(stock, "_counters", lambda: counted[0])

    def spend(seconds, size, rounds):
        counted[0] += stock.Spent(seconds, size, rounds)

    yield spend


def test_meter_charges_lines_and_provider(monkeypatch):
    class Provider:
        def square(self):
            spend(5, 100, 2)
            return "pair"

    for name in set(stock.PROVIDED) - {"square"}:
        setattr(Provider, name, staticmethod(lambda: None))
    with counting(monkeypatch) as spend:
        meter, provider = stock.Meter(), Provider()
        meter.watch(provider)
        meter.begin()
        meter.mark(7)
        spend(1, 16, 1)
        assert provider.square() == "pair"
        meter.mark(8)
        spend(2, 32, 1)
        meter.mark(stock.OUTPUT_LINE)
    assert meter.lines[7] == stock.Spent(1, 16, 1)
    assert meter.lines[8] == stock.Spent(2, 32, 1)
    assert meter.provided == stock.Spent(5, 100, 2)
    assert meter.offline_lines == {7: 5}


SPREAD_OUT = """\
class Model:
    def forward(self, x):
        y = x + 1

        return (
            y * 2
        )
"""


def test_marks_tell_the_line_of_each_statement(tmp_path):
    source = tmp_path / "model.py"
    source.write_text(SPREAD_OUT)
    marks = []
    assert stock.load_marked(source, "Model", marks.append)().forward(3) == 8
    assert marks == [3, 5]
