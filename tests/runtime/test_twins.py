"""Programs of one model hold its weights once, and are as right as if each had its own."""

from __future__ import annotations

from contextlib import closing

import pytest
import torch
from torch import nn

import mpccompile
from mpccompile.runtime.session import Session
from mpccompile.runtime.twins import Twins


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("twins")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    changed = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    changed.load_state_dict(model.state_dict())
    with torch.no_grad():
        changed[2].weight[0, 0] += 1
    cases = {"one": (model, 2), "longer": (model, 4), "changed": (changed, 2)}
    for name, (module, rows) in cases.items():
        mpccompile.compile(module, example_inputs=torch.randn(rows, 6)).save(base / name)
    return base, cases


def test_a_weight_is_shared_where_its_numbers_are_the_same(folders):
    base, _ = folders
    twins = Twins()
    assert twins.add("one", base / "one") == {}
    shared = twins.add("longer", base / "longer")
    assert set(shared.values()) == {"one"}
    assert len(shared) == 2
    fewer = twins.add("changed", base / "changed")
    assert len(fewer) == 1
    assert fewer.keys() < shared.keys()


def test_who_has_no_weights_shares_none(folders, tmp_path):
    base, _ = folders
    for name in ("manifest.json", "plan.json"):
        (tmp_path / name).write_bytes((base / "longer" / name).read_bytes())
    twins = Twins()
    twins.add("one", base / "one")
    assert twins.add("bare", tmp_path) == {}


def test_programs_that_share_weights_answer_right_and_send_them_once(folders):
    base, cases = folders
    torch.manual_seed(1)
    with closing(Session()) as session:
        sent = []
        for name in cases:
            session.load(name, base / name)
            sent.append(session.load_bytes)
        assert sent == [8 * (30 + 15), 8 * (30 + 15), 8 * (30 + 15 + 15)]
        for name in (*cases, *reversed(cases)):
            model, rows = cases[name]
            x = torch.randn(rows, 6).clamp(-1.5, 1.5)
            ((answer,), _report) = session.run(name, {"input": x}, frozenset())
            assert float((answer - model(x)).detach().abs().max()) < 1e-3
