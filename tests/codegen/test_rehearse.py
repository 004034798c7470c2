"""From a model to parties: groups save rounds, change no answer and no byte, and are booked to the line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

import mpccompile
from mpccompile import compiler
from mpccompile.codegen import rehearse
from mpccompile.codegen.arrange import one_by_one
from mpccompile.errors import RangeExceeded
from mpccompile.options import Options
from tests.models import FAMILIES

if TYPE_CHECKING:
    from pathlib import Path

    from mpccompile.codegen.package import Package

LARGEST_ERROR = 1e-2


class Branches(nn.Module):
    """Three ways from one input, of different lengths and kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d, self.e = (nn.Linear(16, 16) for _ in range(5))
        self.norm, self.out = nn.LayerNorm(16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, 4] of x [N, 16]."""
        one = self.b(torch.relu(self.a(x)))
        two = self.d(nn.functional.gelu(self.c(torch.sigmoid(x))))
        three = torch.tanh(self.e(self.norm(x)))
        scores: Tensor = self.out(one * two + torch.softmax(three, -1))
        return scores


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return Branches().eval()


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.randn(6, 16, generator=torch.Generator().manual_seed(1))


def built(model: nn.Module, inputs: dict[str, Tensor], folder: Path) -> Package:
    return compiler.build(model, inputs, folder, options=Options())


def totals(package: Package) -> tuple[int, int, int]:
    rows = package.traffic
    return (
        sum(row.bytes_sent[0] for row in rows),
        sum(row.bytes_sent[1] for row in rows),
        sum(row.rounds for row in rows),
    )


def alone(model: nn.Module, inputs: dict[str, Tensor], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """Build without groups."""
    with monkeypatch.context() as patch:
        patch.setattr(rehearse, "side_by_side", lambda graph, _dry_run, _alone: one_by_one(graph))
        return built(model, inputs, folder)


def test_branches_run_side_by_side(model, x, tmp_path, monkeypatch):
    package = built(model, {"x": x}, tmp_path / "one")
    before = totals(alone(model, {"x": x}, tmp_path / "two", monkeypatch))
    after = totals(package)
    assert after[:2] == before[:2]
    assert package.rounds is not None
    assert package.rounds.one_by_one == before[2]
    assert package.rounds.longest_chain <= after[2] <= before[2] - 10
    assert "mpc.together(" in (package.folder / "model.py").read_text()


@pytest.mark.parametrize(("name", "saved"), [("t5", 30), ("bert", 2), ("vit", 1), ("gpt2", 0), ("llama", 0)])
def test_a_family_takes_no_more_than_one_by_one(name, saved, tmp_path, monkeypatch):
    model, inputs = FAMILIES[name]()
    package = built(model, inputs, tmp_path / "one")
    before, after = totals(alone(model, inputs, tmp_path / "two", monkeypatch)), totals(package)
    assert after[:2] <= before[:2]
    assert before[2] - after[2] >= saved
    assert package.rounds is not None
    assert (package.rounds.one_by_one, package.rounds.longest_chain) == (before[2], after[2])


def test_the_text_is_the_same_each_time(model, x, tmp_path):
    texts = [(built(model, {"x": x}, tmp_path / name).folder / "model.py").read_text() for name in ("one", "two")]
    assert texts[0] == texts[1]


def test_stock_crypten_stays_one_statement_at_a_time(model, x, tmp_path):
    package = compiler.build(model, {"x": x}, tmp_path, options=Options(target="crypten"), passes=compiler.RECOGNISERS)
    assert "together" not in (tmp_path / "model.py").read_text()
    assert package.rounds is None


def test_a_run_gives_the_answer_and_measures_what_was_predicted(model, x):
    with mpccompile.compile(model, example_inputs={"x": x}) as private, torch.no_grad():
        error = (private(x=x) - model(x)).abs().max()
        profile = private.last_profile()
    assert error < LARGEST_ERROR
    assert profile.static_agrees
    assert profile.schedule is not None
    assert sum(row.rounds for row in profile.rows) == profile.rounds < profile.schedule.one_by_one
    assert all(row.seconds > 0 for row in profile.rows)
    text = " ".join(profile.text().split())
    chain, apart = profile.schedule.longest_chain, profile.schedule.one_by_one
    assert f"Of the {profile.rounds} rounds {chain} are its critical path" in text
    assert f"one statement at a time takes {apart}." in text


def test_a_range_left_inside_a_group_is_told_by_its_place_in_the_model(model, x, tmp_path):
    with mpccompile.compile(model, example_inputs={"x": x}) as private:
        private(x=x)
        private.save(tmp_path)
        with pytest.raises(RangeExceeded) as caught:
            private(x=5 * x)
    lines = (tmp_path / "model.py").read_text().splitlines()
    assert any("mpc.sigmoid.steps" in line for line in lines)
    assert "sigmoid in" in caught.value.where
