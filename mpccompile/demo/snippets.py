"""The demo's data: which package of Python's standard library is this snippet from?"""

from __future__ import annotations

import random
import re
import string
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mpccompile.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# In order of preference. Linux distributions leave some packages out and new Pythons drop some, so absent ones are
# skipped; all but idlelib are in every CPython from 3.11 on.
CANDIDATES = ("asyncio", "email", "importlib", "multiprocessing", "unittest", "xml", "idlelib", "ctypes")
MAX_CLASSES = 7
MIN_CLASSES = 6
# Fewer files than this cannot be split by file and still show a package from several sides.
MIN_FILES = 5
# Short enough that some snippets leave padding in SEQUENCE_LENGTH tokens, and long enough that some are cut off.
MIN_LINES = 8
MAX_LINES = 16
# Training snippets overlap, which shows the model each line in several places; test snippets never do.
TRAIN_STEP_LINES = 4
# One long file must not be most of its class.
MAX_LINES_PER_FILE = 800
TEST_SHARE = 0.25

VOCABULARY_SIZE = 3000
SEQUENCE_LENGTH = 64

_IMPORT = re.compile(r"\s*(from\s+\S+\s+)?import\s")
# Between the parts of an identifier: readHTTPHeader is read, HTTP, Header.
_HUMP = r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])"


@dataclass(frozen=True)
class Snippet:
    """Some lines of one source file.

    Attributes:
        text: The lines, without import lines and lines that name a package.
        label: Index into the classes.
        file: Path of the file below the standard library's folder, with forward slashes.
    """

    text: str
    label: int
    file: str


@dataclass(frozen=True)
class SnippetSet:
    """The two splits; no file has snippets in both.

    Attributes:
        classes: Package names; a label is an index into them.
        train: Snippets to train on, in random order.
        test: Snippets of held-out files, in random order.
    """

    classes: tuple[str, ...]
    train: tuple[Snippet, ...]
    test: tuple[Snippet, ...]


@dataclass(frozen=True)
class _Source:
    """The lines of one file that may appear in snippets."""

    file: str
    lines: tuple[str, ...]


def build_snippets(*, seed: int = 0, root: Path | None = None) -> SnippetSet:
    """Cut the standard library into training snippets and snippets of held-out files.

    Import lines, and lines that name any of the packages, are left out of every snippet: with them the answer is
    often written in the question. The result depends on ``seed`` and on the Python version only.

    Args:
        seed: Chooses the held-out files, the snippet lengths and the order.
        root: The folder that holds the packages; this Python's standard library by default.

    Raises:
        InputError: If the folder has fewer than six of the packages.
    """
    root = root or Path(sysconfig.get_paths()["stdlib"])
    sources = {name: found for name in CANDIDATES if len(found := _sources(root, name)) >= MIN_FILES}
    classes = tuple(sorted(list(sources)[:MAX_CLASSES]))
    if len(classes) < MIN_CLASSES:
        raise InputError(
            f"the demo needs the source of {MIN_CLASSES} standard library packages and found {len(classes)}",
            hint="Use a Python that has the source of its standard library.",
        )
    rng = random.Random(seed)
    train: list[Snippet] = []
    test: list[Snippet] = []
    for label, name in enumerate(classes):
        held_out, kept = _split(sources[name], rng)
        for source in kept:
            train += _cut(source, label, rng, step=TRAIN_STEP_LINES)
        for source in held_out:
            test += _cut(source, label, rng)
    rng.shuffle(train)
    rng.shuffle(test)
    return SnippetSet(classes, tuple(train), tuple(test))


def _sources(root: Path, package: str) -> list[_Source]:
    """Read the package's own modules (not its tests) in a stable order."""
    tests = {"test", "tests", "idle_test"}
    naming = re.compile("|".join(CANDIDATES), re.IGNORECASE)
    found = []
    for path in sorted((root / package).rglob("*.py")):
        if tests & set(path.relative_to(root).parts):
            continue
        lines = tuple(
            line
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
            if line.strip() and not _IMPORT.match(line) and not naming.search(line)
        )
        if len(lines) >= MIN_LINES:
            found.append(_Source(path.relative_to(root).as_posix(), lines[:MAX_LINES_PER_FILE]))
    return found


def _split(sources: Sequence[_Source], rng: random.Random) -> tuple[list[_Source], list[_Source]]:
    """Hold out whole files, at random, until they have ``TEST_SHARE`` of the lines."""
    kept = list(sources)
    rng.shuffle(kept)
    wanted = TEST_SHARE * sum(len(source.lines) for source in kept)
    held_out: list[_Source] = []
    while len(kept) > 1 and sum(len(source.lines) for source in held_out) < wanted:
        held_out.append(kept.pop())
    return held_out, kept


def _cut(source: _Source, label: int, rng: random.Random, *, step: int = 0) -> list[Snippet]:
    """Cut one file into snippets, ``step`` lines apart; 0 means one after the other."""
    snippets = []
    start = 0
    while len(source.lines) - start >= MIN_LINES:
        length = rng.randint(MIN_LINES, MAX_LINES)
        snippets.append(Snippet("\n".join(source.lines[start : start + length]), label, source.file))
        start += step or length
    return snippets


def train_tokenizer(texts: Iterable[str], *, vocabulary_size: int = VOCABULARY_SIZE) -> PreTrainedTokenizerFast:
    """Train a byte-pair tokenizer that reads code as lower-case words.

    Identifiers are cut at underscores and humps (``readHTTPHeader_2`` is read, http, header); punctuation and digits
    are dropped, so that ``SEQUENCE_LENGTH`` tokens hold most of a snippet. The same texts always give the same
    tokenizer.

    Args:
        texts: The training texts.
        vocabulary_size: Upper bound of the number of tokens.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    steps = [
        normalizers.Replace(Regex(_HUMP), " "),
        normalizers.Replace(Regex(r"[^A-Za-z]+"), " "),
        normalizers.Strip(),
        normalizers.Lowercase(),
    ]
    tokenizer.normalizer = normalizers.Sequence(steps)
    # A mark at the start of each word, not "##" inside words: tokenizers numbers the marked alphabet in hash order,
    # which would give every run another vocabulary.
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=special,
        initial_alphabet=list(string.ascii_lowercase),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=SEQUENCE_LENGTH,
        model_input_names=["input_ids", "attention_mask"],
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
