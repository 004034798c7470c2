import io

import pytest
import torch
from rich.console import Console

import mpccompile
from mpccompile.codegen.package import read
from mpccompile.errors import InputError
from mpccompile.private import PrivateModel
from mpccompile.report import compare
from mpccompile.report.compare import Cost
from tests import models


def shown(table):
    buffer = io.StringIO()
    Console(file=buffer, width=140).print(table)
    return buffer.getvalue()


def test_ways_take_turns_and_medians_are_kept():
    order = []
    seconds = {"a": iter([1.0, 9.0, 2.0]), "b": iter([5.0, 4.0, 6.0])}

    def way(name):
        order.append(name)
        return Cost(name, next(seconds[name]), bytes_sent=10)

    costs = compare.interleaved({"a": lambda: way("a"), "b": lambda: way("b")}, 3)
    assert order == ["a", "b"] * 3
    assert [(cost.name, cost.online_seconds, cost.bytes_sent) for cost in costs] == [("a", 2.0, 10), ("b", 5.0, 10)]


def test_plaintext_runs_on_as_many_threads_as_a_party_and_gives_them_back():
    seen = []

    class Watched(torch.nn.Module):
        def forward(self, x):
            seen.append((torch.get_num_threads(), self.training))
            return x

    model, before = Watched().train(), torch.get_num_threads()
    assert compare.plaintext(model, {"x": torch.ones(1, 2)}, threads=1).online_seconds > 0
    assert seen == [(1, False)]
    assert torch.get_num_threads() == before
    assert model.training


def test_table_says_how_stock_crypten_ran():
    rows = [Cost("this program", 1.0, 1.0, 2e6, 0, 7, 1e-4), Cost("crypten", 30.0, 10.0, 5e8, 0, 200, 0.01)]
    text = shown(compare.table(rows))
    assert "0.05 x" in text
    assert "500.000 MB" in text
    assert "rank 0 making the triples" in text
    assert "rank 0" not in shown(compare.table(rows[:1]))


@pytest.fixture(scope="module")
def private():
    model, inputs = models.mlp()
    with mpccompile.compile(model, example_inputs=inputs) as compiled:
        yield compiled, inputs


def test_profile_compares_with_plaintext_and_stock_crypten(private):
    compiled, inputs = private
    profile = compiled.profile(**inputs, against=("plaintext", "crypten"), repeat=1)
    ours, plain, stock = profile.costs
    assert [cost.name for cost in profile.costs] == ["this program", "plaintext", "crypten"]
    assert ours.bytes_sent == max(profile.bytes_sent)
    assert (plain.bytes_sent, plain.rounds, plain.max_error) == (0, 0, 0)
    assert stock.bytes_sent > ours.bytes_sent
    assert 0 < ours.max_error < 1e-3
    assert 0 < stock.max_error < 1e-3
    assert "crypten" in profile.text()
    assert profile.static_agrees


def test_profile_alone_compares_with_nothing(private):
    compiled, inputs = private
    profile = compiled.profile(**inputs)
    assert profile.costs == ()
    assert min(profile.peak_bytes) > 1e7


def test_unknown_rival_is_refused(private):
    compiled, inputs = private
    with pytest.raises(InputError, match="against='spu'"):
        compiled.profile(**inputs, against=("spu",))


def test_a_package_in_float32_is_plaintext_and_stock_crypten_needs_the_model(private, tmp_path):
    compiled, inputs = private
    compiled.save(tmp_path / "package")
    loaded = PrivateModel.from_package(read(tmp_path / "package"))
    with loaded:
        ours, plain = loaded.profile(**inputs, against=("plaintext",), repeat=1).costs
        assert 0 < ours.max_error < 1e-3
        assert plain.online_seconds > 0
        with pytest.raises(InputError, match="no torch model"):
            loaded.profile(**inputs, against=("crypten",))
