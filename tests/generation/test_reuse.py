"""Texts that go on from hidden states privately, alone and with merged layers."""

from __future__ import annotations

import copy
import functools
import signal

import pytest
import torch

import mpccompile
from mpccompile.distill import DistillationConfig, Stage, TextLoss
from mpccompile.errors import InputError, OptionError, PartyLost
from mpccompile.merge.extract import averages
from mpccompile.merge.reuse import continued, scale_to_embeddings
from mpccompile.merge.rewrite import MergeConfig, deployed, merged
from mpccompile.report.profile import Profile
from mpccompile.runtime.session import Session
from tests.generation.texts import POSITIONS, TEXT, VOCABULARY, WINDOW, decoded, encoded, trained

NEW_TOKENS = 12
FORMS = {"residual": MergeConfig(), "affine": MergeConfig(first_norm="affine"), "mix-first": MergeConfig("mix-first")}


class Quad(torch.nn.Module):
    def forward(self, x):
        return 0.125 * x.square() + 0.25 * x + 0.5


def windows():
    ids = encoded(TEXT)[0]
    return torch.stack([ids[start : start + WINDOW] for start in range(0, 64, 2)])


@functools.cache
def model_of(form=None, gelu="exact"):
    """A tiny GPT-2 that has learnt to go on from its own hidden states, with merged layers or without."""
    model = trained()
    found = averages(model, [{"input_ids": windows()}])
    model = merged(model, found, FORMS[form]) if form else copy.deepcopy(model)
    scale = scale_to_embeddings(model, [windows()])
    config = DistillationConfig.merge(epochs=20, loss=TextLoss(resent=1, scale=scale), text=Stage(20, 3e-3))
    program = mpccompile.program(model, {"input_ids": windows()[:16]}, gelu=gelu)
    mpccompile.distill(None, program, {"input_ids": windows()}, config=config, progress=False).load_into(model)
    return deployed(model) if form else model


@pytest.fixture(scope="module")
def private():
    with mpccompile.compile(model_of(), generation="reuse") as model:
        yield model


def test_the_text_is_the_plain_loops(private):
    prompt = encoded("def mul(")
    expected = continued(model_of(), prompt, NEW_TOKENS)
    assert torch.equal(private.generate(prompt, max_new_tokens=NEW_TOKENS), expected)
    assert "a, " in decoded(expected[0])


def test_merged_layers_go_on_from_hidden_states_too():
    prompt = encoded("def add(")
    with mpccompile.compile(model_of("mix-first"), generation="reuse") as both:
        text = both.generate(prompt, max_new_tokens=NEW_TOKENS)
    assert torch.equal(text, continued(model_of("mix-first"), prompt, NEW_TOKENS))


def test_quad_in_merged_layers_is_calibrated_on_what_it_makes_itself():
    prompt, model = encoded("def add("), model_of("residual", "quad")
    with mpccompile.compile(model, generation="reuse", gelu="quad") as both:
        text = both.generate(prompt, max_new_tokens=NEW_TOKENS)
    plain = copy.deepcopy(model)
    for block in plain.transformer.h:
        block.mlp.act = Quad()
    expected = continued(plain, prompt, NEW_TOKENS)
    assert torch.equal(text, expected)
    assert "a, " in decoded(text[0])


def test_merged_layers_generate_from_tokens_as_any_model():
    prompt = encoded("def mul(")
    with mpccompile.compile(model_of("affine")) as private:
        text = private.generate(prompt, max_new_tokens=NEW_TOKENS)
    plain = prompt
    with torch.no_grad():
        for _ in range(NEW_TOKENS):
            plain = torch.cat([plain, model_of("affine")(input_ids=plain).logits[:, -1:].argmax(-1)], 1)
    assert torch.equal(text, plain)


def test_a_secret_matrix_gives_the_same_text():
    model = merged(trained(), averages(trained(), [{"input_ids": windows()}]))
    prompt = encoded("def mul(")
    with mpccompile.compile(deployed(model, matrix="secret"), generation="reuse") as private:
        text = private.generate(prompt, max_new_tokens=4)
    assert torch.equal(text, continued(model, prompt, 4))


def test_nothing_is_opened_to_anyone_before_the_end(private, monkeypatch):
    calls, run, prompt = [], Session.run, encoded("def mul(")
    private.generate(prompt, max_new_tokens=5)
    packages = {str(package.folder.resolve()): package for package in private._generator.packages}

    def watched(self, program, inputs, public, first_row=0):
        outputs, report = run(self, program, inputs, public, first_row)
        calls.append((sorted(inputs), [tuple(output.shape) for output in outputs], first_row))
        assert Profile.of(packages[program], report).static_agrees
        return outputs, report

    monkeypatch.setattr(Session, "run", watched)
    private.generate(prompt, max_new_tokens=5)
    first, *steps, last = calls
    assert first == (["input_ids"], [], 0)
    assert steps == [(["attention_mask", "position_ids"], [], row) for row in range(8, 12)]
    assert last == (["position_ids"], [(1, 5, VOCABULARY)], 12)


def test_texts_of_a_batch_and_a_shorter_prompt_go_on_too(private):
    prompts = torch.cat([encoded("def add("), encoded("def mul(")])
    assert torch.equal(private.generate(prompts, max_new_tokens=6), continued(model_of(), prompts, 6))
    short = encoded("de")
    assert torch.equal(private.generate(short, max_new_tokens=6), continued(model_of(), short, 6))


def test_what_follows_the_end_is_padding(private):
    prompt = encoded("def mul(")
    plain = continued(model_of(), prompt, NEW_TOKENS)[0].tolist()
    end = plain[11]
    text = private.generate(prompt, max_new_tokens=NEW_TOKENS, eos_token_id=end, pad_token_id=1)[0].tolist()
    stop = plain.index(end, 8) + 1
    assert text == plain[:stop] + [1] * (len(plain) - stop)


@pytest.mark.parametrize(
    ("prompt", "choices", "words"),
    [
        (torch.zeros(1, 0, dtype=torch.long), {}, "empty"),
        (torch.tensor([[VOCABULARY]]), {}, "vocabulary"),
        (torch.zeros(1, 40, dtype=torch.long), {"max_new_tokens": POSITIONS - 39}, "positions"),
    ],
)
def test_a_prompt_that_cannot_be_continued_is_refused(prompt, choices, words):
    with pytest.raises(InputError, match=words):
        mpccompile.compile(model_of(), generation="reuse").generate(prompt, **choices)


def test_an_unknown_way_to_generate_is_refused():
    with pytest.raises(OptionError, match="generation='er'"):
        mpccompile.compile(model_of(), generation="er")


@pytest.mark.parametrize("form", [None, "affine"])
def test_a_package_goes_on_as_the_plain_loop_does(form, tmp_path):
    model, prompt = model_of(form), encoded("def mul(")
    examples = [{"input_ids": encoded("def add(a, b)")}]
    mpccompile.compile(model, generation="reuse", example_inputs=examples).save_generator(tmp_path / "writer", 24)
    with mpccompile.load(tmp_path / "writer") as package:
        text = package.generate(prompt, max_new_tokens=6)
        with pytest.raises(InputError, match="compiled for"):
            package.generate(prompt, max_new_tokens=17)
        with pytest.raises(OptionError, match="selection"):
            package.generate(prompt, max_new_tokens=2, selection="secret")
    assert torch.equal(text, continued(model, prompt, 6))


def test_a_party_lost_on_the_way_leaves_the_prompt(monkeypatch):
    prompt, run = encoded("def mul("), Session.run
    with mpccompile.compile(model_of("affine"), generation="reuse") as fresh:

        def killing(self, program, inputs, public, first_row=0):
            if first_row == 10:
                self._processes["0"].send_signal(signal.SIGKILL)
            return run(self, program, inputs, public, first_row)

        monkeypatch.setattr(Session, "run", killing)
        with pytest.raises(PartyLost) as lost:
            fresh.generate(prompt, max_new_tokens=6)
        assert torch.equal(lost.value.generated, prompt)
        assert fresh._session.closed
