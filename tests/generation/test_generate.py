"""Private text is the plain model's, token for token, and nothing but logits leaves the parties."""

from __future__ import annotations

import copy
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

import mpccompile
from mpccompile.errors import CaptureFailed, InputError, MpcCompileError, OptionError, PartyLost
from mpccompile.generation import generate
from mpccompile.generation.caches import check_reads_on
from mpccompile.generation.examples import places_over
from mpccompile.generation.generate import Recipe
from mpccompile.generation.requests import check_padding
from mpccompile.options import Options
from mpccompile.report.profile import Profile
from mpccompile.runtime.session import Session
from tests.generation.texts import POSITIONS, VOCABULARY, decoded, encoded, greedy, trained
from tests.models import FAMILIES

NEW_TOKENS = 24
SECRET = {"selection": "secret"}


class Heard:
    """A streamer that remembers, and may do something at a step."""

    def __init__(self, act=lambda _step: None):
        self.steps, self.ended, self.act = [], False, act

    def put(self, value):
        self.steps.append(value.clone())
        self.act(len(self.steps) - 1)

    def end(self):
        self.ended = True


@pytest.fixture(scope="module")
def private():
    with mpccompile.compile(trained()) as model:
        yield model


def test_greedy_text_is_the_plain_models(private):
    prompt, heard = encoded("def mul("), Heard()
    expected = greedy(trained(), prompt, NEW_TOKENS)
    text = private.generate(prompt, max_new_tokens=NEW_TOKENS, streamer=heard)
    assert torch.equal(text, expected)
    assert "b" in decoded(text[0])
    assert heard.ended
    assert torch.equal(torch.cat([heard.steps[0], torch.stack(heard.steps[1:], 1)], 1), expected)


def test_only_logits_leave_the_parties_and_the_traffic_is_the_predicted_one(private, monkeypatch):
    calls = []
    run = Session.run

    def watched(self, program, inputs, public, first_row=0):
        outputs, report = run(self, program, inputs, public, first_row)
        calls.append((program, sorted(inputs), [tuple(output.shape) for output in outputs], report))
        return outputs, report

    monkeypatch.setattr(Session, "run", watched)
    private.generate(encoded("def mul("), max_new_tokens=NEW_TOKENS)
    assert len(calls) == NEW_TOKENS
    assert [names for _program, names, _shapes, _report in calls[:2]] == [
        ["input_ids"],
        ["attention_mask", "input_ids", "position_ids"],
    ]
    packages = {str(package.folder.resolve()): package for package in private._generator.packages}
    assert len({program for program, *_ in calls}) == 2
    for program, _names, shapes, report in calls:
        assert shapes == [(1, VOCABULARY)]
        assert Profile.of(packages[program], report).static_agrees
        assert {spec.name for spec in packages[program].inputs if spec.resident} in (
            set(),
            {"key_0", "value_0", "key_1", "value_1"},
        )


def test_programs_and_processes_serve_again(private):
    private.generate(encoded("def mul("), max_new_tokens=3)
    made = private._generator.packages
    text = private.generate(encoded("def add("), max_new_tokens=NEW_TOKENS)
    assert torch.equal(text, greedy(trained(), encoded("def add("), NEW_TOKENS))
    assert private._generator.packages == made


def test_texts_of_a_batch_go_on_together(private):
    prompts = torch.cat([encoded("def add("), encoded("def mul(")])
    text = private.generate(prompts, max_new_tokens=12)
    assert torch.equal(text, greedy(trained(), prompts, 12))


def test_a_text_ends_at_its_end_token(private):
    prompt = encoded("def mul(")
    plain = decoded(greedy(trained(), prompt, NEW_TOKENS)[0])
    end = plain[12]
    text = decoded(private.generate(prompt, max_new_tokens=NEW_TOKENS, eos_token_id=ord(end))[0])
    assert text == plain[: plain.index(end, 8) + 1]


def test_a_drawn_text_is_drawn_from_the_likeliest(private):
    text = private.generate(encoded("def mul("), max_new_tokens=8, do_sample=True, top_k=1, temperature=0.7, top_p=0.9)
    assert torch.equal(text, greedy(trained(), encoded("def mul("), 8))


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_other_families_generate(name):
    model, _inputs = FAMILIES[name]()
    prompt = torch.tensor([[7, 8, 9, 10]])
    with mpccompile.compile(model) as other:
        text = other.generate(prompt, max_new_tokens=8)
    assert torch.equal(text, greedy(model, prompt, 8))


@pytest.mark.parametrize(
    ("prompt", "choices", "words"),
    [
        (torch.zeros(1, 0, dtype=torch.long), {}, "empty"),
        (torch.zeros(1, 0), {}, "empty"),
        ([[5, 6]], {}, "integer tensor"),
        (torch.ones(1, 2, dtype=torch.bool), {}, "integer tensor"),
        (torch.ones(1, 2, dtype=torch.long), {"attention_mask": torch.ones(1, 3)}, "shape"),
        (torch.ones(1, 2, dtype=torch.long), {"attention_mask": [[1, 1]]}, "shape"),
        (torch.tensor([[VOCABULARY]]), {}, "vocabulary"),
        (torch.tensor([[-1]]), {}, "vocabulary"),
        (torch.tensor([5]), {}, "batch"),
        (torch.tensor([[0.5]]), {}, "integer"),
        (torch.zeros(1, 40, dtype=torch.long), {"max_new_tokens": POSITIONS - 39}, "positions"),
        (torch.zeros(1, 2, dtype=torch.long), {"attention_mask": torch.tensor([[0, 1]])}, "padding"),
    ],
)
def test_a_prompt_that_cannot_be_continued_is_refused_before_anything_runs(prompt, choices, words):
    fresh = mpccompile.compile(trained())
    with pytest.raises(InputError, match=words):
        fresh.generate(prompt, **choices)
    assert fresh._session is None


@pytest.mark.parametrize(
    "choices",
    [
        {"max_new_tokens": 0},
        {"max_new_tokens": 2.5},
        {"max_new_tokens": "4"},
        {"temperature": 0.0},
        {"temperature": "1"},
        {"temperature": float("nan")},
        {"top_k": 0},
        {"top_k": 2.5},
        {"top_p": 1.5},
        {"top_p": 0},
        {"eos_token_id": "a"},
        {"eos_token_id": [1, 2.5]},
        {"pad_token_id": 0.5},
        {"streamer": print},
        {"num_beams": 4},
        {"decoder_start_token_id": 0},
    ],
)
def test_choices_that_mean_nothing_are_refused(choices):
    with pytest.raises(OptionError, match=next(iter(choices))):
        mpccompile.compile(trained()).generate(encoded("a"), **choices)


def test_padding_without_a_mask_is_refused_unless_it_ends_texts():
    model = copy.deepcopy(trained())
    model.config.pad_token_id = 7
    with pytest.raises(InputError, match="padding"):
        mpccompile.compile(model).generate(torch.tensor([[7, 5]]), max_new_tokens=2)
    recipe = Recipe(model, Options(), (), Path())
    check_padding(recipe, torch.tensor([[7, 5]]), torch.ones(1, 2))
    model.config.eos_token_id = [0, 7]
    check_padding(recipe, torch.tensor([[7, 5]]), None)


def test_programs_of_other_prompts_are_used_for_what_they_were_proven_for(private, monkeypatch):
    prompt = encoded("def mul(")
    private.generate(prompt, max_new_tokens=2)
    made = len(private._generator.packages)
    private.generate(prompt, max_new_tokens=2)
    assert len(private._generator.packages) == made
    taken = []
    monkeypatch.setattr(generate, "takes", lambda later, earlier: taken.append((later, earlier)) or True)
    private.generate(prompt, max_new_tokens=2)
    assert all(earlier is private._generator._prompts[1, 8] for _later, earlier in taken)
    assert taken


def test_a_streamer_hears_the_end_of_a_text_that_could_not_begin():
    heard = Heard()

    def broken(_program):
        raise MpcCompileError("no")

    private = mpccompile.compile(trained(), passes=[broken])
    with pytest.raises(MpcCompileError) as error:
        private.generate(encoded("a"), max_new_tokens=2, streamer=heard)
    assert heard.ended
    assert torch.equal(error.value.generated, encoded("a"))


def test_a_session_that_is_closed_on_the_way_is_not_started_again():
    with mpccompile.compile(trained()) as fresh:
        heard = Heard(lambda step: fresh.close() if step == 3 else None)
        with pytest.raises(PartyLost, match="middle of a text") as lost:
            fresh.generate(encoded("def mul("), max_new_tokens=6, streamer=heard)
        assert torch.equal(lost.value.generated, greedy(trained(), encoded("def mul("), 3))
        assert fresh._session is None


def test_texts_of_two_threads_do_not_mix(private):
    prompts, texts = [encoded("def mul("), encoded("def add(")], {}
    private.generate(prompts[0], max_new_tokens=4)
    private.generate(prompts[0], max_new_tokens=4, selection="secret")

    def write(at, **choices):
        texts[at] = private.generate(prompts[at], max_new_tokens=4, **choices)

    threads = [threading.Thread(target=write, args=(0,)), threading.Thread(target=write, args=(1,), kwargs=SECRET)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for at, prompt in enumerate(prompts):
        assert torch.equal(texts[at], greedy(trained(), prompt, 4))


def test_a_prompt_unlike_what_follows_it_is_calibrated_on_both():
    prompt = torch.zeros(1, 40, dtype=torch.long)
    with mpccompile.compile(trained()) as fresh:
        text = fresh.generate(prompt, max_new_tokens=4)
    assert torch.equal(text, greedy(trained(), prompt, 4))


def test_ranges_are_found_where_tokens_will_be_read():
    assert set(places_over(1, 62)) >= {1, 62, 61, 60, 59, 31}
    assert places_over(0, 2) == [2, 1, 0]
    assert places_over(1, 1) == [1]


def test_a_model_that_counts_back_from_the_end_of_its_cache_is_refused():
    whole, _inputs = FAMILIES["qwen2"]()
    config = copy.deepcopy(whole.config)
    config.use_sliding_window, config.sliding_window = True, 8
    config.layer_types = ["sliding_attention"] * config.num_hidden_layers
    model = type(whole)(config).eval()
    for choices in ({}, SECRET):
        private = mpccompile.compile(model)
        with pytest.raises(CaptureFailed, match="sliding window"):
            private.generate(torch.tensor([[7, 8, 9, 10]]), max_new_tokens=12, **choices)
        assert private._generator.packages == ()
    with pytest.raises(CaptureFailed, match="sliding window"):
        mpccompile.compile(model, generation="reuse").generate(torch.tensor([[7, 8]]), max_new_tokens=12)
    # A window longer than the cache sees all of it.
    check_reads_on(model, 7)


def test_a_model_that_cannot_generate_is_refused():
    with pytest.raises(CaptureFailed, match="cannot generate"):
        mpccompile.compile(FAMILIES["bert"]()[0]).generate(torch.tensor([[5]]))


@pytest.mark.parametrize("options", [{"target": "crypten"}, {"truncation": "local"}])
def test_what_generation_cannot_be_compiled_for_is_refused(options):
    private = mpccompile.compile(trained(), **options)
    with pytest.raises(OptionError, match="option"):
        private.generate(encoded("a"), max_new_tokens=2)


def test_a_party_lost_on_the_way_leaves_the_text_so_far_and_nothing_running():
    prompt = encoded("def mul(")
    with mpccompile.compile(trained()) as fresh:

        def kill(step):
            if step == 5:
                fresh._session._processes["0"].send_signal(signal.SIGKILL)

        heard = Heard(kill)
        with pytest.raises(PartyLost) as lost:
            fresh.generate(prompt, max_new_tokens=NEW_TOKENS, streamer=heard)
        expected = greedy(trained(), prompt, 5)
        assert torch.equal(lost.value.generated, expected)
        assert heard.ended
        assert len(heard.steps) == 6
        assert fresh._session.closed
        deadline = time.monotonic() + 10
        while fresh._session._processes and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not fresh._session._processes
        # The next call starts afresh.
        assert torch.equal(fresh.generate(prompt, max_new_tokens=5), expected)
