"""A package writes text without the model, and refuses what it was not compiled for."""

from __future__ import annotations

import shutil
import signal

import pytest
import torch

import mpccompile
from mpccompile.errors import InputError, MpcCompileError, OptionError, PackageError, PartyLost
from mpccompile.runtime.session import Session
from tests.generation.texts import POSITIONS, VOCABULARY, encoded, greedy, trained

TOKENS = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("package") / "writer"
    private = mpccompile.compile(trained(), example_inputs=[{"input_ids": encoded("def add(a, b)")}])
    private.save_generator(path, TOKENS)
    return path


def test_prompts_of_any_length_are_continued_as_the_plain_model_does(folder):
    with mpccompile.load(folder) as private:
        for prompt in ("def mul(", "d"):
            ids = encoded(prompt)
            expected = greedy(trained(), ids, 8)
            assert torch.equal(private.generate(ids, max_new_tokens=8), expected)


@pytest.mark.parametrize(
    ("prompt", "tokens", "words"),
    [
        (encoded("def mul("), TOKENS - 7, "compiled for"),
        (torch.zeros(1, 0, dtype=torch.long), 2, "empty"),
        (torch.tensor([[VOCABULARY]]), 2, "vocabulary"),
        (torch.zeros(2, 3, dtype=torch.long), 2, "one text"),
    ],
)
def test_a_prompt_that_cannot_be_continued_is_refused_before_anything_runs(folder, prompt, tokens, words):
    private = mpccompile.load(folder)
    with pytest.raises(InputError, match=words):
        private.generate(prompt, max_new_tokens=tokens)
    assert private._session is None


@pytest.fixture(scope="module")
def secret_folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("package") / "writer"
    private = mpccompile.compile(trained(), example_inputs=[{"input_ids": encoded("def add(a, b)")}])
    private.save_generator(path, TOKENS, selection="secret")
    return path


def test_a_package_may_choose_its_tokens_in_secret(secret_folder, tmp_path):
    mpccompile.load(secret_folder).save(tmp_path / "copy")
    with mpccompile.load(tmp_path / "copy") as private:
        for prompt in ("def mul(", "d"):
            ids = encoded(prompt)
            expected = greedy(trained(), ids, 8)
            assert torch.equal(private.generate(ids, max_new_tokens=8), expected)
        full = private.generate(ids, max_new_tokens=TOKENS - 1, selection="secret", eos_token_id=ord("("))
        assert torch.equal(full, greedy(trained(), ids, TOKENS - 1)[:, : full.shape[1]])
        assert full[0, -1] == ord("(")
        with pytest.raises(OptionError, match="do_sample"):
            private.generate(ids, max_new_tokens=2, do_sample=True)


def test_a_package_without_one_of_its_programs_is_refused(secret_folder, tmp_path):
    shutil.copytree(secret_folder, tmp_path / "part")
    shutil.rmtree(tmp_path / "part" / "end")
    with pytest.raises(PackageError, match="no such folder"):
        mpccompile.load(tmp_path / "part").generate(encoded("d"), max_new_tokens=2)


def test_a_client_of_an_open_package_picks_itself(folder):
    with pytest.raises(OptionError, match="--selection secret"):
        mpccompile.load(folder).generate(encoded("d"), max_new_tokens=2, selection="secret")


@pytest.mark.parametrize("kind", ["folder", "secret_folder"])
def test_a_party_lost_on_the_way_leaves_what_was_known_and_nothing_running(kind, request, monkeypatch):
    prompt, run = encoded("def mul("), Session.run

    def killing(self, program, inputs, public, first_row=0, **choices):
        if first_row == 10:
            self._processes["1"].send_signal(signal.SIGKILL)
        return run(self, program, inputs, public, first_row, **choices)

    monkeypatch.setattr(Session, "run", killing)
    with mpccompile.load(request.getfixturevalue(kind)) as private:
        with pytest.raises(PartyLost) as lost:
            private.generate(prompt, max_new_tokens=6)
        # The third new token was the last that a client who picks them had.
        known = greedy(trained(), prompt, 3) if kind == "folder" else prompt
        assert torch.equal(lost.value.generated, known)
        assert private._session.closed
        assert not private._session._processes


def test_what_cannot_be_saved_is_refused(tmp_path):
    with pytest.raises(OptionError, match="example prompts"):
        mpccompile.compile(trained()).save_generator(tmp_path / "a", TOKENS)
    examples = [{"input_ids": encoded("def")}]
    with pytest.raises(OptionError, match="positions"):
        mpccompile.compile(trained(), example_inputs=examples).save_generator(tmp_path / "a", POSITIONS + 1)


def test_a_package_of_another_kind_writes_no_text(tmp_path):
    private = mpccompile.compile(torch.nn.Linear(3, 2), example_inputs=torch.zeros(1, 3))
    private.save(tmp_path / "linear")
    with pytest.raises(MpcCompileError, match="--generate"):
        mpccompile.load(tmp_path / "linear").generate(torch.tensor([[1]]))
