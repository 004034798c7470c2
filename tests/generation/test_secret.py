"""Tokens that the parties choose on shares are the plain model's, and nobody learns one before the end."""

from __future__ import annotations

import signal

import pytest
import torch

import mpccompile
from mpccompile.errors import InputError, OptionError, PartyLost
from mpccompile.report.profile import Profile
from mpccompile.runtime.session import Session
from tests.generation.texts import POSITIONS, VOCABULARY, decoded, encoded, greedy, trained
from tests.models import FAMILIES

NEW_TOKENS = 12


class Heard:
    """A streamer that remembers."""

    def __init__(self):
        self.steps, self.ended = [], False

    def put(self, value):
        self.steps.append(value)

    def end(self):
        self.ended = True


@pytest.fixture(scope="module")
def private():
    with mpccompile.compile(trained()) as model:
        yield model


def test_the_text_is_the_plain_models_token_for_token(private):
    prompt, heard = encoded("def mul("), Heard()
    text = private.generate(prompt, max_new_tokens=NEW_TOKENS, selection="secret", streamer=heard)
    assert torch.equal(text, greedy(trained(), prompt, NEW_TOKENS))
    assert torch.equal(torch.cat([heard.steps[0][0], *heard.steps[1:]]), text[0])
    assert heard.ended


def test_nothing_is_opened_to_anyone_before_the_end(private, monkeypatch):
    calls, run, prompt = [], Session.run, encoded("def mul(")
    private.generate(prompt, max_new_tokens=5, selection="secret")
    packages = {str(package.folder.resolve()): package for package in private._generator.packages}

    def watched(self, program, inputs, public, first_row=0):
        outputs, report = run(self, program, inputs, public, first_row)
        calls.append((sorted(inputs), [tuple(output.shape) for output in outputs], first_row))
        assert Profile.of(packages[program], report).static_agrees
        return outputs, report

    monkeypatch.setattr(Session, "run", watched)
    private.generate(prompt, max_new_tokens=5, selection="secret")
    first, *steps, last = calls
    assert first == (["input_ids"], [], 0)
    assert steps == [(["attention_mask", "position_ids"], [], row) for row in range(8, 12)]
    assert last == (["position_ids"], [(1, 4, 1), (1, 1)], 12)


def test_its_length_shows_no_end_and_the_client_cuts_it(private, monkeypatch):
    rows, run, prompt = [], Session.run, encoded("def mul(")
    plain = decoded(greedy(trained(), prompt, NEW_TOKENS)[0])

    def watched(self, program, inputs, public, first_row=0):
        rows.append(first_row)
        return run(self, program, inputs, public, first_row)

    monkeypatch.setattr(Session, "run", watched)
    end = plain[10]
    text = private.generate(prompt, max_new_tokens=NEW_TOKENS, selection="secret", eos_token_id=ord(end))
    assert decoded(text[0]) == plain[: plain.index(end, 8) + 1]
    ended = list(rows)
    rows.clear()
    private.generate(prompt, max_new_tokens=NEW_TOKENS, selection="secret")
    assert ended == rows


def test_texts_of_a_batch_and_a_single_token(private):
    prompts = torch.cat([encoded("def add("), encoded("def mul(")])
    text = private.generate(prompts, max_new_tokens=6, selection="secret")
    assert torch.equal(text, greedy(trained(), prompts, 6))
    one = private.generate(encoded("d"), max_new_tokens=1, selection="secret")
    assert torch.equal(one, greedy(trained(), encoded("d"), 1))


def test_the_client_may_still_pick_them_itself(private):
    prompt = encoded("def add(")
    assert torch.equal(private.generate(prompt, max_new_tokens=4), greedy(trained(), prompt, 4))
    text = private.generate(prompt, max_new_tokens=4, selection="secret")
    assert torch.equal(text, greedy(trained(), prompt, 4))


@pytest.mark.parametrize(("name", "options"), [("llama", {}), ("qwen2", {"embedding": "public"})])
def test_other_families_choose_too(name, options):
    model, _inputs = FAMILIES[name]()
    prompt = torch.tensor([[7, 8, 9, 10]])
    with mpccompile.compile(model, **options) as other:
        text = other.generate(prompt, max_new_tokens=6, selection="secret")
    assert torch.equal(text, greedy(model, prompt, 6))


def test_the_table_is_masked_once_for_the_head_and_the_tokens(private):
    private.generate(encoded("def mul("), max_new_tokens=4, selection="secret")
    step, *_others = private._generator._steps.values()
    source = (step.folder / "model.py").read_text()
    table = "w['model.lm_head.weight']"
    assert source.count(table) == 2
    # Neither a step nor a look-up sends as much as the table has numbers.
    looked_up = next(row for row in step.statements if row.op == "embedding" and row.module_path.endswith("wte"))
    sent = next(row for row in step.traffic if row.line == looked_up.line)
    assert max(sent.bytes_sent) < 5 * VOCABULARY


def test_only_the_likeliest_can_be_chosen_in_secret():
    with pytest.raises(OptionError, match="do_sample"):
        mpccompile.compile(trained()).generate(encoded("a"), selection="secret", do_sample=True)
    with pytest.raises(OptionError, match="selection"):
        mpccompile.compile(trained()).generate(encoded("a"), selection="server")
    with pytest.raises(OptionError, match="selection"):
        mpccompile.compile(trained(), generation="reuse").generate(encoded("a"), selection="secret")


@pytest.mark.parametrize(
    ("prompt", "choices", "words"),
    [
        (torch.zeros(1, 0, dtype=torch.long), {}, "empty"),
        (torch.tensor([[VOCABULARY]]), {}, "vocabulary"),
        (torch.zeros(1, 40, dtype=torch.long), {"max_new_tokens": POSITIONS - 39}, "positions"),
    ],
)
def test_a_prompt_that_cannot_be_continued_is_refused_before_anything_runs(prompt, choices, words):
    fresh = mpccompile.compile(trained())
    with pytest.raises(InputError, match=words):
        fresh.generate(prompt, selection="secret", **choices)
    assert fresh._session is None


def test_a_party_lost_on_the_way_leaves_the_prompt_and_nothing_running(private, monkeypatch):
    prompt, run = encoded("def mul("), Session.run

    def killing(self, program, inputs, public, first_row=0):
        if first_row == 10:
            self._processes["1"].send_signal(signal.SIGKILL)
        return run(self, program, inputs, public, first_row)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "run", killing)
        with pytest.raises(PartyLost) as lost:
            private.generate(prompt, max_new_tokens=6, selection="secret")
    assert torch.equal(lost.value.generated, prompt)
    assert private._session.closed
    assert not private._session._processes
    # The next call starts afresh.
    text = private.generate(prompt, max_new_tokens=6, selection="secret")
    assert torch.equal(text, greedy(trained(), prompt, 6))
