"""A package writes text without the model, and refuses what it was not compiled for."""

from __future__ import annotations

import pytest
import torch

import mpccompile
from mpccompile.errors import InputError, MpcCompileError, OptionError
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
