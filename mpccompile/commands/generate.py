"""``mpccompile generate``: text from a package, shown as it comes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from torch import Tensor

    from mpccompile.generation.choices import Streamer
    from mpccompile.private import PrivateModel


def generate(  # noqa: PLR0913, PLR0917 - each is an option of the command
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A package compiled with --generate.", show_default=False)
    ],
    prompt: Annotated[str | None, typer.Option(help="The text to go on with; needs --tokenizer.")] = None,
    ids: Annotated[
        str | None, typer.Option(metavar="ID,ID,...", help="Token ids in the place of a text; ids are printed then.")
    ] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where transformers' save_pretrained put the tokenizer.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens to add.")] = 20,
    do_sample: Annotated[bool, typer.Option("--do-sample", help="Draw tokens, and not take the likeliest.")] = False,
    temperature: Annotated[float, typer.Option(help="What logits are divided by before a token is drawn.")] = 1.0,
    top_k: Annotated[int | None, typer.Option(help="How many of the likeliest tokens one is drawn from.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Draw from the likeliest that have this probability.")] = None,
    eos_token_id: Annotated[
        list[int] | None,
        typer.Option(help="An id that ends the text, whose length both parties see then; repeat for more."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="Where the parties compute, cpu or cuda.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON at the end, and nothing before.")] = False,
) -> None:
    """Let a package go on with a text privately, in two parties and a dealer on this machine.

    The client picks each token from the logits that it alone learns; of a package that was compiled with --selection
    secret it learns the text when it is complete. What was written is not lost when a party is: it
    stands on the screen, or in the JSON's "ids".

    Example: mpccompile generate writer.mpc --tokenizer FOLDER --prompt 'def main('
    """
    if (prompt is None) == (ids is None):
        raise typer.BadParameter("give a text or ids, one of the two", param_hint="--prompt / --ids")
    if prompt is not None and tokenizer is None:
        raise typer.BadParameter("a text has to be turned into ids", param_hint="--tokenizer")
    from mpccompile.commands import show

    with show.stages("starting") as status:
        from mpccompile.commands import files
        from mpccompile.generation.answers import START

        words = _tokenizer(tokenizer)
        given = _ids(ids) if prompt is None else _encoded(words, prompt)
        package, private = files.open_package(folder, device)
        choices = {
            "max_new_tokens": max_new_tokens,
            "do_sample": do_sample,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "eos_token_id": eos_token_id,
        }
        status.update("writing")
        if not json:
            # A spinner and a text that grows would write over each other.
            status.stop()
        # What an answer starts with is no text: the first token says so to the model.
        unsaid = sum(spec.name == START for spec in package.inputs)
        _write(private, given, choices, words, unsaid, as_json=json)


def _write(
    private: PrivateModel, given: Tensor, choices: dict[str, Any], words: Any, unsaid: int, *, as_json: bool
) -> None:
    from mpccompile.commands import show
    from mpccompile.errors import MpcCompileError

    with private:
        try:
            found = private.generate(given, streamer=None if as_json else _streamer(words, unsaid), **choices)
        except MpcCompileError as error:
            if as_json and error.generated is not None:
                _print_json(error.generated, words, unsaid)
            raise
        if as_json:
            _print_json(found, words, unsaid, show.cost_of([private.last_profile()]))


def _print_json(found: Tensor, words: Any, unsaid: int, cost: dict[str, Any] | None = None) -> None:
    from mpccompile.commands import show

    text = None if words is None else words.decode(found[0, unsaid:])
    show.as_json({"ids": found[0].tolist(), "text": text, "last_token": cost})


class _Ids:
    """Prints ids as they come."""

    def put(self, value: Tensor) -> None:
        sys.stdout.write("".join(f"{number} " for number in value.flatten().tolist()))
        sys.stdout.flush()

    def end(self) -> None:
        sys.stdout.write("\n")


def _streamer(words: Any, unsaid: int) -> Streamer:
    if words is None:
        return _Ids()
    from transformers import TextStreamer

    streamer: Streamer = TextStreamer(words, skip_prompt=unsaid > 0)
    return streamer


def _tokenizer(folder: Path | None) -> Any:
    """Read a tokenizer from a folder; nothing is fetched from a hub.

    Raises:
        InputError: If there is none.
    """
    if folder is None:
        return None
    from transformers import AutoTokenizer

    from mpccompile.errors import InputError

    if not folder.is_dir():
        raise InputError("there is no such folder", where=str(folder))
    try:
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError) as error:
        what = "the folder holds no tokenizer that transformers can read"
        raise InputError(what, where=str(folder), hint="Write it with tokenizer.save_pretrained.") from error


def _encoded(words: Any, text: str) -> Tensor:
    found: Tensor = words(text, return_tensors="pt")["input_ids"].long()
    return found


def _ids(text: str | None) -> Tensor:
    """Read ids separated by commas.

    Raises:
        OptionError: If they are no whole numbers.
    """
    import torch

    from mpccompile.errors import OptionError

    parts = [part for part in (text or "").split(",") if part.strip()]
    try:
        return torch.tensor([[int(part) for part in parts]], dtype=torch.long)
    except (ValueError, RuntimeError) as error:
        raise OptionError(f"{text!r} is no list of ids", hint="Write it as 12,7,301.") from error
