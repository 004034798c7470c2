"""Answers of a private T5 are the plain model's, token for token; its encoder runs once."""

from __future__ import annotations

import signal

import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration

import mpccompile
from mpccompile.errors import CaptureFailed, InputError, OptionError, PartyLost
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
    assert torch.equal(private.generate(ids, max_new_tokens=NEW_TOKENS), greedy(model_of(), ids, NEW_TOKENS))
    ids[:, -2:], mask[:, -2:] = 0, 0
    text = private.generate(ids, attention_mask=mask, max_new_tokens=NEW_TOKENS)
    assert torch.equal(text, greedy(model_of(), ids, NEW_TOKENS, mask))


def test_the_source_is_read_once_and_stays(private, monkeypatch):
    calls, run, ids = [], Session.run, sources(1, 4)
    private.generate(ids, max_new_tokens=4)
    packages = {str(package.folder.resolve()): package for package in private._generator.packages}

    def watched(self, program, inputs, public, first_row=0):
        outputs, report = run(self, program, inputs, public, first_row)
        calls.append((packages[program], sorted(inputs), first_row))
        assert Profile.of(packages[program], report).static_agrees
        return outputs, report

    monkeypatch.setattr(Session, "run", watched)
    private.generate(ids, max_new_tokens=4)
    (source, first_inputs, first), *steps = calls
    assert (first, first_inputs) == (0, ["attention_mask", "decoder_input_ids", "input_ids"])
    token = ["attention_mask", "decoder_attention_mask", "input_ids", "position_ids"]
    assert [(inputs, row) for _package, inputs, row in steps] == [(token, row) for row in (1, 2, 3)]
    assert {name for name, _limit in source.output.resident if "cross" in name} == {
        f"cross_{kind}_{layer}" for kind in ("key", "value") for layer in (0, 1)
    }
    reads = {statement.module_path for statement in steps[0][0].statements}
    assert not any("encoder" in path or "EncDecAttention.k" in path or "EncDecAttention.v" in path for path in reads)


def test_an_answer_ends_at_its_end_token(private):
    ids = sources(1, 5)
    plain = greedy(model_of(), ids, NEW_TOKENS, eos_token_id=1)
    assert plain.shape[1] < 1 + NEW_TOKENS
    assert torch.equal(private.generate(ids, max_new_tokens=NEW_TOKENS, eos_token_id=1), plain)


def test_an_untied_head_a_batch_and_another_start_token():
    model, ids = model_of(tied=False), sources(2, 6)
    with mpccompile.compile(model) as other:
        text = other.generate(ids, max_new_tokens=5, decoder_start_token_id=2)
    assert torch.equal(text, greedy(model, ids, 5, decoder_start_token_id=2))


@pytest.mark.parametrize(
    ("source", "choices", "kind", "words"),
    [
        (torch.zeros(1, 0, dtype=torch.long), {}, InputError, "empty"),
        (torch.tensor([[VOCABULARY]]), {}, InputError, "vocabulary"),
        (torch.tensor([[7, 0]]), {}, InputError, "padding"),
        (torch.tensor([[7, 8]]), {"attention_mask": torch.zeros(1, 2)}, InputError, "mask"),
        (torch.tensor([[7, 8]]), {"decoder_start_token_id": VOCABULARY}, InputError, "vocabulary"),
        (torch.tensor([[7, 8]]), {"selection": "secret", "do_sample": True}, OptionError, "do_sample"),
    ],
)
def test_a_source_that_cannot_be_answered_is_refused_before_anything_runs(source, choices, kind, words):
    fresh = mpccompile.compile(model_of())
    with pytest.raises(kind, match=words):
        fresh.generate(source, **choices)
    assert fresh._session is None


def test_another_start_token_has_ranges_of_its_own(private):
    ids = sources(1, 3)
    private.generate(ids, max_new_tokens=2)
    text = private.generate(ids, max_new_tokens=2, decoder_start_token_id=37)
    assert torch.equal(text, greedy(model_of(), ids, 2, decoder_start_token_id=37))


def test_what_cannot_answer_is_refused():
    config = BartConfig(
        vocab_size=40,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
    )
    with pytest.raises(CaptureFailed, match="only a T5"):
        mpccompile.compile(BartForConditionalGeneration(config)).generate(torch.tensor([[5]]))
    with pytest.raises(OptionError, match="without an encoder"):
        mpccompile.compile(model_of(), generation="reuse").generate(torch.tensor([[5]]))


def test_a_party_lost_on_the_way_leaves_the_answer_so_far_and_nothing_running(private, monkeypatch):
    run, ids = Session.run, sources(1, 7)

    def killing(self, program, inputs, public, first_row=0):
        if first_row == 3:
            self._processes["0"].send_signal(signal.SIGKILL)
        return run(self, program, inputs, public, first_row)

    monkeypatch.setattr(Session, "run", killing)
    with pytest.raises(PartyLost) as lost:
        private.generate(ids, max_new_tokens=6)
    assert torch.equal(lost.value.generated, greedy(model_of(), ids, 3))
    assert private._session.closed
    assert not private._session._processes
