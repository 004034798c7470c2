"""Generation as a folder: one program, or up to three, of which all but the first have folders of their own in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mpccompile.capture.cached import HIDDEN
from mpccompile.codegen import package as packages
from mpccompile.errors import InputError, PackageError
from mpccompile.generation.answer_reader import AnswerReader
from mpccompile.generation.answers import START, AnswerGenerator
from mpccompile.generation.closed_reader import ClosedReader
from mpccompile.generation.reader import Reader
from mpccompile.generation.requests import check_ids

if TYPE_CHECKING:
    from mpccompile.codegen.package import Package
    from mpccompile.generation.generate import Runner
    from mpccompile.generation.ways import AnyGenerator

AnyReader = Reader | ClosedReader | AnswerReader
START_FILE, _START, _PADDING = "answers.json", "decoder_start_token_id", "pad_token_id"
"""Beside what reads a source: which token answers start with, and which pads sources. All parties know them."""
STEP, END = "step", "end"
"""Where what goes on by one token, and what tells of the text, stand beside what reads a token of the prompt."""


def write(generator: AnyGenerator | AnyReader, tokens: int, folder: Path) -> None:
    """Write the programs of texts of up to so many tokens, each to its folder.

    Raises:
        OptionError: If no example prompts were given, or the model has fewer positions.
        PackageError: If a folder cannot be written.
    """
    for name, package in generator.programs(tokens).items():
        packages.copy(package, folder / name)
    if isinstance(generator, AnswerGenerator | AnswerReader):
        known = {_START: generator.start, _PADDING: generator.padding}
        (folder / START_FILE).write_text(json.dumps(known) + "\n", encoding="utf-8")


def reader_of(package: Package, run: Runner) -> AnyReader:
    """Return what continues prompts with a package, and with those in its folder.

    Raises:
        MpcCompileError: If the package reads no token.
        PackageError: If one in its folder is missing or damaged.
    """
    if any(spec.name == START for spec in package.inputs):
        return _answers_of(package, run)
    if HIDDEN not in dict(package.output.resident):
        return Reader(package, run)
    step, end = (packages.read(package.folder / name) for name in (STEP, END))
    return ClosedReader(package, step, end, run)


def _answers_of(package: Package, run: Runner) -> AnswerReader:
    step = packages.read(package.folder / STEP)
    end = packages.read(package.folder / END) if HIDDEN in dict(package.output.resident) else None
    try:
        known = json.loads((package.folder / START_FILE).read_text(encoding="utf-8"))
        start = int(known[_START])
        padding = None if known[_PADDING] is None else int(known[_PADDING])
        check_ids(torch.tensor([[start]]), next(spec.table_rows for spec in package.inputs if spec.name == "input_ids"))
    except (OSError, ValueError, KeyError, TypeError, InputError) as error:
        raise PackageError(f"{START_FILE} cannot be read", where=str(package.folder), hint="Compile again.") from error
    return AnswerReader(package, step, end, start, padding, run)
