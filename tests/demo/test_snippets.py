"""The demo's data, its tokenizer, and a training short enough for a test."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from mpccompile.demo.classifier import encode, predict, train_classifier
from mpccompile.demo.snippets import (
    CANDIDATES,
    MAX_CLASSES,
    MIN_CLASSES,
    SEQUENCE_LENGTH,
    VOCABULARY_SIZE,
    SnippetSet,
    build_snippets,
    train_tokenizer,
)
from mpccompile.errors import InputError


@pytest.fixture(scope="module")
def snippets():
    return build_snippets()


@pytest.fixture(scope="module")
def tokenizer(snippets):
    return train_tokenizer(snippet.text for snippet in snippets.train)


def write_package(root, name, files=5, lines=40):
    folder = root / name
    folder.mkdir()
    for index in range(files):
        body = "\n".join(f"value_{line} = compute({line})" for line in range(lines))
        (folder / f"part{index}.py").write_text(body)


def of_classes(snippets, *names):
    """Keep some classes only: fewer are learnt in fewer steps."""
    labels = {snippets.classes.index(name): label for label, name in enumerate(names)}

    def relabelled(part):
        return tuple(replace(snippet, label=labels[snippet.label]) for snippet in part if snippet.label in labels)

    return SnippetSet(names, relabelled(snippets.train), relabelled(snippets.test))


def test_no_file_is_in_both_splits(snippets):
    train = {snippet.file for snippet in snippets.train}
    test = {snippet.file for snippet in snippets.test}
    assert train
    assert test
    assert not train & test


def test_every_class_is_in_both_splits(snippets):
    assert MIN_CLASSES <= len(snippets.classes) <= MAX_CLASSES
    labels = set(range(len(snippets.classes)))
    assert {snippet.label for snippet in snippets.train} == labels
    assert {snippet.label for snippet in snippets.test} == labels


def test_label_is_the_package_of_the_file(snippets):
    for snippet in snippets.train + snippets.test:
        assert snippet.file.split("/")[0] == snippets.classes[snippet.label]


def test_no_snippet_names_a_package_or_imports(snippets):
    text = "\n".join(snippet.text for snippet in snippets.train + snippets.test)
    assert not re.search("|".join(CANDIDATES), text, re.IGNORECASE)
    assert not re.search(r"^\s*import\s", text, re.MULTILINE)


def test_test_snippets_do_not_overlap(snippets):
    lines_of_file = {}
    for snippet in snippets.test:
        lines_of_file[snippet.file] = lines_of_file.get(snippet.file, 0) + len(snippet.text.splitlines())
    # 800 lines of a file at most, and no line of it twice.
    assert max(lines_of_file.values()) <= 800


def test_same_seed_same_snippets(snippets):
    assert build_snippets() == snippets
    assert build_snippets(seed=1) != snippets


def test_absent_packages_are_skipped(tmp_path):
    for name in CANDIDATES[-MIN_CLASSES:]:
        write_package(tmp_path, name)
    assert build_snippets(root=tmp_path).classes == tuple(sorted(CANDIDATES[-MIN_CLASSES:]))


def test_too_few_packages_is_an_error_that_says_so(tmp_path):
    for name in CANDIDATES[: MIN_CLASSES - 1]:
        write_package(tmp_path, name)
    with pytest.raises(InputError, match=r"needs the source of 6 .* packages and found 5"):
        build_snippets(root=tmp_path)


def test_tokenizer_round_trip(tokenizer):
    ids = tokenizer("class readHTTPHeader_2(Base): return self._nextLine").input_ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == "class read http header base return self next line"
    assert tokenizer.decode(ids).startswith("[CLS]")
    assert tokenizer.decode(ids).endswith("[SEP]")


def test_tokenizer_knows_every_snippet(snippets, tokenizer):
    assert len(tokenizer) <= VOCABULARY_SIZE
    ids = encode(tokenizer, [snippet.text for snippet in snippets.test])["input_ids"]
    assert not (ids == tokenizer.unk_token_id).any()


def test_encoded_snippets_are_padded_and_masked(snippets, tokenizer):
    inputs = encode(tokenizer, [snippet.text for snippet in snippets.test])
    assert inputs["input_ids"].shape == (len(snippets.test), SEQUENCE_LENGTH)
    assert torch.equal(inputs["attention_mask"] == 0, inputs["input_ids"] == tokenizer.pad_token_id)
    padded = (inputs["attention_mask"].sum(dim=1) < SEQUENCE_LENGTH).float().mean()
    assert 0.1 < padded < 0.9


def test_tokenizer_is_the_same_in_every_process(tokenizer):
    program = (
        "from mpccompile.demo.snippets import build_snippets, train_tokenizer\n"
        "tokenizer = train_tokenizer(snippet.text for snippet in build_snippets().train)\n"
        "print(sorted(tokenizer.get_vocab().items()))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "7"}
    again = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert again.stdout.strip() == str(sorted(tokenizer.get_vocab().items()))


def test_short_training_beats_chance(snippets):
    few = of_classes(snippets, "asyncio", "email")
    losses = []
    before = torch.get_rng_state()
    classifier = train_classifier(few, steps=40, on_step=losses.append)
    assert torch.equal(torch.get_rng_state(), before)
    assert len(losses) == 40
    assert not classifier.model.training

    test = few.test[:128]
    guesses = predict(classifier, [snippet.text for snippet in test]).argmax(dim=1)
    right = guesses == torch.tensor([snippet.label for snippet in test])
    assert right.float().mean() > 0.75


def test_same_seed_same_model(snippets):
    few = of_classes(snippets, "asyncio", "email")
    first, second = (train_classifier(few, steps=2).model.state_dict() for _ in range(2))
    other = train_classifier(few, steps=2, seed=1).model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
