"""Text on the command line is the plain model's, shown as it comes; wrong calls are told in one line."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import PreTrainedTokenizerFast
from typer.testing import CliRunner

from mpccompile.cli import app
from mpccompile.errors import InputError, MpcCompileError, OptionError
from tests.generation.backwards import greedy as answer_of
from tests.generation.backwards import model_of
from tests.generation.texts import decoded, encoded, greedy, trained

FACTORY = """
from tests.generation.backwards import model_of, sources
from tests.generation.texts import encoded, trained

def writer():
    return trained(), {"input_ids": encoded("def add(a, b)")}

def answerer():
    return model_of(), {"input_ids": sources(1, 1)}
"""
PROMPT = "def mul("


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    base = tmp_path_factory.mktemp("generate")
    (base / "generate_factories.py").write_text(FACTORY, encoding="utf-8")
    sys.path.insert(0, str(base))
    letters = Tokenizer(WordLevel({chr(code): code for code in range(128)}, unk_token="\0"))
    letters.pre_tokenizer = Split("", "isolated")
    letters.decoder = Fuse()
    PreTrainedTokenizerFast(tokenizer_object=letters, unk_token="\0").save_pretrained(base / "tokenizer")
    done = call("compile", "generate_factories:writer", "-o", base / "package", "--generate", 20)
    assert done.exit_code == 0, done.output
    yield base
    sys.path.remove(str(base))


def call(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_text_goes_on_as_the_plain_models(place):
    expected = decoded(greedy(trained(), encoded(PROMPT), 6)[0])
    done = call(
        "generate", place / "package", "--prompt", PROMPT, "--tokenizer", place / "tokenizer", "--max-new-tokens", 6
    )
    assert done.exit_code == 0, done.output
    assert done.output.strip() == expected.strip()


def test_ids_in_and_json_out(place):
    ids = encoded(PROMPT)
    given = ",".join(map(str, ids[0].tolist()))
    done = call("generate", place / "package", "--ids", given, "--max-new-tokens", 4, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert torch.equal(torch.tensor([found["ids"]]), greedy(trained(), ids, 4))
    assert found["text"] is None
    assert found["last_token"]["rounds"] > 0


def test_an_answer_is_told_without_the_token_it_starts_with(place):
    done = call("compile", "generate_factories:answerer", "-o", place / "answers", "--generate", 4)
    assert "answers of up to 4 new tokens" in done.output
    source = "!#$%&'"
    ids = answer_of(model_of(), encoded(source), 4)[0]
    asked = ("generate", place / "answers", "--prompt", source, "--tokenizer", place / "tokenizer")
    done = call(*asked, "--max-new-tokens", 4)
    assert done.exit_code == 0, done.output
    assert done.output.strip("\n") == decoded(ids[1:])
    found = json.loads(call(*asked, "--max-new-tokens", 4, "--json").output)
    assert found["ids"] == ids.tolist()
    assert found["text"] == decoded(ids[1:])


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["--ids", "1,x"], OptionError, "list of ids"),
        (["--ids", "1", "--max-new-tokens", "99"], InputError, "compiled for"),
        (["--ids", "999"], InputError, "vocabulary"),
        (["--ids", ","], InputError, "empty"),
        (["--prompt", "a", "--tokenizer", "nowhere"], InputError, "no such folder"),
        (["--ids", "1", "--temperature", "0"], OptionError, "temperature"),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_runs(place, arguments, error, words):
    done = call("generate", place / "package", *arguments)
    assert isinstance(done.exception, error)
    assert words in str(done.exception)


@pytest.mark.parametrize("arguments", [[], ["--ids", "1", "--prompt", "a"], ["--prompt", "a"]])
def test_a_prompt_is_one_thing(place, arguments):
    assert call("generate", place / "package", *arguments).exit_code == 2


def test_a_folder_without_a_tokenizer_is_told(place):
    done = call("generate", place / "package", "--prompt", "a", "--tokenizer", place)
    assert isinstance(done.exception, MpcCompileError)
    assert "no tokenizer" in str(done.exception)
