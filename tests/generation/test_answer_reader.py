"""A package of a T5 answers without the model, sources of every length, and refuses what it was not compiled for."""

from __future__ import annotations

import signal

import pytest
import torch

import mpccompile
from mpccompile.errors import InputError, OptionError, PackageError, PartyLost
from mpccompile.runtime.session import Session
from tests.generation.backwards import LENGTH, NEW_TOKENS, VOCABULARY, greedy, model_of, sources


def written(path, **choices):
    examples = {"input_ids": sources(2, 1), "decoder_input_ids": sources(2, 2)}
    private = mpccompile.compile(model_of(), example_inputs=examples)
    private.save_generator(path, NEW_TOKENS, **choices)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return written(tmp_path_factory.mktemp("package") / "answers")


@pytest.fixture(scope="module")
def secret_folder(tmp_path_factory):
    return written(tmp_path_factory.mktemp("package") / "answers", selection="secret")


def expect_answers(private, **choices):
    for length in (LENGTH, 3):
        ids = sources(1, 3)[:, :length]
        assert torch.equal(private.generate(ids, max_new_tokens=NEW_TOKENS), greedy(model_of(), ids, NEW_TOKENS))
    plain = greedy(model_of(), ids, NEW_TOKENS, eos_token_id=1)
    assert torch.equal(private.generate(ids, max_new_tokens=NEW_TOKENS, eos_token_id=1, **choices), plain)


def test_sources_of_any_length_are_answered_as_the_plain_model_does(folder):
    with mpccompile.load(folder) as private:
        expect_answers(private)
        ids, mask = sources(1, 4), torch.ones(1, LENGTH, dtype=torch.long)
        ids[:, -2:], mask[:, -2:] = 0, 0
        text = private.generate(ids, attention_mask=mask, max_new_tokens=3)
        assert torch.equal(text, greedy(model_of(), ids, 3, mask))


def test_a_package_may_choose_its_tokens_in_secret(secret_folder, tmp_path, monkeypatch):
    told, run = [], Session.run

    def watched(self, program, inputs, public, first_row=0):
        outputs, report = run(self, program, inputs, public, first_row)
        told.append(len(outputs))
        return outputs, report

    mpccompile.load(secret_folder).save(tmp_path / "copy")
    with mpccompile.load(tmp_path / "copy") as private:
        expect_answers(private, selection="secret")
        monkeypatch.setattr(Session, "run", watched)
        private.generate(sources(1, 5), max_new_tokens=3)
    assert told == [0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("source", "choices", "kind", "words"),
    [
        (torch.full((1, LENGTH + 1), 7), {}, InputError, "compiled for"),
        (torch.full((1, LENGTH), 7), {"max_new_tokens": NEW_TOKENS + 1}, InputError, "compiled for"),
        (torch.zeros(1, 0, dtype=torch.long), {}, InputError, "empty"),
        (torch.tensor([[VOCABULARY]]), {}, InputError, "vocabulary"),
        (torch.tensor([[7], [8]]), {}, InputError, "one source"),
        (torch.tensor([[7, 8]]), {"attention_mask": torch.zeros(1, 2)}, InputError, "mask"),
        (torch.tensor([[7, 0]]), {}, InputError, "padding"),
        (torch.tensor([[7, 8]]), {"decoder_start_token_id": 5}, OptionError, "start with token 0"),
    ],
)
def test_a_source_that_cannot_be_answered_is_refused_before_anything_runs(
    folder, secret_folder, source, choices, kind, words
):
    for path in (folder, secret_folder):
        private = mpccompile.load(path)
        with pytest.raises(kind, match=words):
            private.generate(source, **{"max_new_tokens": 2, **choices})
        assert private._session is None


def test_who_selects_was_settled_when_it_was_compiled(folder, secret_folder):
    with pytest.raises(OptionError, match="--selection secret"):
        mpccompile.load(folder).generate(sources(1, 2), max_new_tokens=2, selection="secret")
    with pytest.raises(OptionError, match="do_sample"):
        mpccompile.load(secret_folder).generate(sources(1, 2), max_new_tokens=2, do_sample=True)


def test_what_a_package_needs_is_asked_for(folder, tmp_path):
    mpccompile.load(folder).save(tmp_path / "part")
    for text in ("{", '{"decoder_start_token_id": 4000, "pad_token_id": 0}'):
        (tmp_path / "part" / "answers.json").write_text(text, encoding="utf-8")
        with pytest.raises(PackageError, match=r"answers\.json cannot be read"):
            mpccompile.load(tmp_path / "part").generate(sources(1, 2), max_new_tokens=2)
    with pytest.raises(OptionError, match="example prompts"):
        mpccompile.compile(model_of()).save_generator(tmp_path / "none", NEW_TOKENS)
    with pytest.raises(OptionError, match="compiled without decoder_start_token_id"):
        mpccompile.compile(model_of()).save_generator(tmp_path / "none", NEW_TOKENS, decoder_start_token_id=5)


def test_a_party_lost_on_the_way_leaves_the_answer_so_far_and_nothing_running(folder, monkeypatch):
    run, ids = Session.run, sources(1, 6)

    def killing(self, program, inputs, public, first_row=0):
        if first_row == 2:
            self._processes["1"].send_signal(signal.SIGKILL)
        return run(self, program, inputs, public, first_row)

    private = mpccompile.load(folder)
    monkeypatch.setattr(Session, "run", killing)
    with pytest.raises(PartyLost) as lost:
        private.generate(ids, max_new_tokens=6)
    assert torch.equal(lost.value.generated, greedy(model_of(), ids, 2))
    assert private._session.closed
    assert not private._session._processes
