"""Answers that the parties choose on shares are the plain T5's, and nobody learns a token before the end."""

from __future__ import annotations

import signal

import pytest
import torch

import mpccompile
from mpccompile.errors import InputError, PartyLost
from mpccompile.generation import secret_answers
from mpccompile.report.profile import Profile
from mpccompile.runtime.session import Session
from tests.generation.backwards import LENGTH, NEW_TOKENS, VOCABULARY, greedy, model_of, sources


@pytest.fixture(scope="module")
def private():
    model = model_of()
    with mpccompile.compile(
        model, example_inputs={"input_ids": sources(4, 1), "decoder_input_ids": sources(4, 2)}
    ) as p:
        yield p


def test_answers_are_the_plain_models_whatever_is_padding(private):
    ids, mask = sources(1, 3), torch.ones(1, LENGTH, dtype=torch.long)
    text = private.generate(ids, max_new_tokens=NEW_TOKENS, selection="secret")
    assert torch.equal(text, greedy(model_of(), ids, NEW_TOKENS))
    ids[:, -2:], mask[:, -2:] = 0, 0
    text = private.generate(ids, attention_mask=mask, max_new_tokens=NEW_TOKENS, selection="secret")
    assert torch.equal(text, greedy(model_of(), ids, NEW_TOKENS, mask))


def test_nothing_is_opened_to_anyone_before_the_end(private, monkeypatch):
    calls, run, ids = [], Session.run, sources(1, 4)
    private.generate(ids, max_new_tokens=4, selection="secret")
    packages = {str(package.folder.resolve()): package for package in private._generator.packages}

    def watched(self, program, inputs, public, first_row=0):
        outputs, report = run(self, program, inputs, public, first_row)
        calls.append((sorted(inputs), [tuple(output.shape) for output in outputs], first_row))
        assert Profile.of(packages[program], report).static_agrees
        return outputs, report

    monkeypatch.setattr(Session, "run", watched)
    private.generate(ids, max_new_tokens=4, selection="secret")
    first, *steps, last = calls
    assert first == (["attention_mask", "decoder_input_ids", "input_ids"], [], 0)
    known = ["attention_mask", "decoder_attention_mask", "position_ids"]
    assert steps == [(known, [], row) for row in (1, 2, 3)]
    assert last == (["position_ids"], [(1, 3, 1), (1, 1)], 4)


def test_an_answer_takes_all_of_its_steps_and_the_client_cuts_it(private, monkeypatch):
    rows, run, ids = [], Session.run, sources(1, 5)
    plain = greedy(model_of(), ids, NEW_TOKENS, eos_token_id=1)
    assert plain.shape[1] < 1 + NEW_TOKENS

    def watched(self, program, inputs, public, first_row=0):
        rows.append(first_row)
        return run(self, program, inputs, public, first_row)

    monkeypatch.setattr(Session, "run", watched)
    text = private.generate(ids, max_new_tokens=NEW_TOKENS, selection="secret", eos_token_id=1)
    assert torch.equal(text, plain)
    assert rows == [*range(NEW_TOKENS), NEW_TOKENS]


def test_an_untied_head_a_batch_another_start_token_and_a_single_token():
    model, ids = model_of(tied=False), sources(2, 6)
    with mpccompile.compile(model) as other:
        for new_tokens in (5, 1):
            text = other.generate(ids, max_new_tokens=new_tokens, decoder_start_token_id=2, selection="secret")
            assert torch.equal(text, greedy(model, ids, new_tokens, decoder_start_token_id=2))


def test_the_client_may_still_pick_the_tokens_itself(private):
    ids = sources(1, 7)
    secret = private.generate(ids, max_new_tokens=3, selection="secret")
    assert torch.equal(private.generate(ids, max_new_tokens=3), secret)


def test_a_source_that_cannot_be_answered_is_refused_before_anything_runs():
    fresh = mpccompile.compile(model_of())
    with pytest.raises(InputError, match="vocabulary"):
        fresh.generate(torch.tensor([[VOCABULARY]]), selection="secret")
    assert fresh._session is None


def test_a_program_that_is_made_anew_takes_no_other_ones_place(private, monkeypatch):
    # As where a source leaves more than what was proven for the program that tells an answer.
    monkeypatch.setattr(secret_answers, "takes", lambda _later, _earlier: False)
    ids = sources(1, 9)
    for new_tokens in (5, 5, 6):
        text = private.generate(ids, max_new_tokens=new_tokens, selection="secret")
        assert torch.equal(text, greedy(model_of(), ids, new_tokens))
    folders = [package.folder for package in private._generator.packages]
    assert len(set(folders)) == len(folders)


def test_a_party_lost_on_the_way_leaves_the_start_and_nothing_running(private, monkeypatch):
    ids, run = sources(1, 8), Session.run

    def killing(self, program, inputs, public, first_row=0):
        if first_row == 2:
            self._processes["0"].send_signal(signal.SIGKILL)
        return run(self, program, inputs, public, first_row)

    monkeypatch.setattr(Session, "run", killing)
    with pytest.raises(PartyLost) as lost:
        private.generate(ids, max_new_tokens=4, selection="secret")
    assert lost.value.generated.tolist() == [[0]]
    assert private._session.closed
    assert not private._session._processes
