"""`mpccompile demo`: train, compile, run privately, and compare with plaintext."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from mpccompile.demo.classifier import TRAINING_STEPS, Classifier, predict, train_classifier
from mpccompile.demo.snippets import Snippet, build_snippets
from mpccompile.errors import OptionError

if TYPE_CHECKING:
    import torch

    from mpccompile.private import PrivateModel

TEST_SNIPPETS = 128
BATCH_SIZE = 8
# Held-out files hold words that training files do not: more batches show more of the range of every private value.
CALIBRATION_BATCHES = 16
SHOWN_SNIPPETS = 3
SHOWN_LINES = 6


@dataclass(frozen=True)
class DemoResult:
    """What the demo found.

    Attributes:
        snippets: Held-out snippets that were run privately.
        plaintext_accuracy: Share of them that the model gets right in plaintext.
        private_accuracy: Share of them that it gets right on secret shares.
        agreement: Share of them on which both say the same.
        largest_difference: Largest absolute difference of a logit.
        training_seconds: Time to train the tokenizer and the model.
        private_seconds: Time of all private calls together, the offline phase included.
    """

    snippets: int
    plaintext_accuracy: float
    private_accuracy: float
    agreement: float
    largest_difference: float
    training_seconds: float
    private_seconds: float


def run_demo(
    console: Console,
    *,
    test_snippets: int = TEST_SNIPPETS,
    batch_size: int = BATCH_SIZE,
    training_steps: int = TRAINING_STEPS,
    seed: int = 0,
) -> DemoResult:
    """Train a classifier, compile it, classify held-out snippets privately, and print how that compares.

    Args:
        console: Where everything is printed.
        test_snippets: How many held-out snippets to run privately, at most; whole batches are run.
        batch_size: Snippets in one private call.
        training_steps: Optimizer steps of the training.
        seed: Chooses the held-out files, the weights and the batches.

    Raises:
        OptionError: If the snippets do not fill one batch.
    """
    if not 1 <= batch_size <= test_snippets:
        raise OptionError(
            f"{test_snippets} snippets in batches of {batch_size} are no whole batch",
            hint="Ask for more snippets, or for smaller batches.",
        )
    classifier = _train(console, training_steps, seed)
    chosen = classifier.snippets.test[:test_snippets]
    chosen = chosen[: len(chosen) - len(chosen) % batch_size]
    expected = predict(classifier, [snippet.text for snippet in chosen])

    console.rule("Compile")
    start = time.perf_counter()
    with console.status("compiling"):
        compiled = _compile(classifier, batch_size)
    with compiled as private:
        console.print(
            f"Compiled in {time.perf_counter() - start:.1f} s, for batches of {batch_size}; the ranges that private"
            f" values take were measured on {CALIBRATION_BATCHES * batch_size} training snippets."
        )
        console.rule("Classify held-out snippets on secret shares")
        start = time.perf_counter()
        answers = _classify(console, classifier, private, chosen, batch_size)
        private_seconds = time.perf_counter() - start
        profile = private.last_profile()
    result = _compare(chosen, expected, answers, classifier.seconds, private_seconds)
    console.print(_comparison(result))
    console.print(profile.table())
    console.rule("Some of them")
    for index in range(min(SHOWN_SNIPPETS, len(chosen))):
        console.print(_shown(classifier.snippets.classes, chosen[index], expected[index], answers[index]))
    return result


def _train(console: Console, steps: int, seed: int) -> Classifier:
    """Build the data, train on it with a progress bar, and say how good the model is."""
    console.rule("Train")
    snippets = build_snippets(seed=seed)
    files = len({snippet.file for snippet in snippets.train}), len({snippet.file for snippet in snippets.test})
    console.print(
        f"Which package of Python's standard library is a snippet from: {', '.join(snippets.classes)}?\n"
        f"{len(snippets.train)} snippets of {files[0]} files to train on, {len(snippets.test)} of {files[1]} others"
        " held out. Imports, and lines that name a package, are left out."
    )
    with _progress(console) as progress:
        task = progress.add_task("training", total=steps, note="")

        def advance(loss: float) -> None:
            progress.update(task, advance=1, note=f"loss {loss:.2f}")

        classifier = train_classifier(snippets, steps=steps, seed=seed, on_step=advance)
    logits = predict(classifier, [snippet.text for snippet in snippets.test])
    weights = sum(weight.numel() for weight in classifier.model.parameters())
    console.print(
        f"Trained {weights:,} weights in {classifier.seconds:.0f} s. Plaintext accuracy on all held-out snippets:"
        f" {_accuracy(logits, snippets.test):.1%} (chance is {1 / len(snippets.classes):.1%})."
    )
    return classifier


def _compile(classifier: Classifier, batch_size: int) -> PrivateModel:
    """Compile the model on training snippets: the held-out ones are nobody's to calibrate with."""
    import mpccompile

    texts = [snippet.text for snippet in classifier.snippets.train[: CALIBRATION_BATCHES * batch_size]]
    examples = [classifier.encode(texts[at : at + batch_size]) for at in range(0, len(texts), batch_size)]
    return mpccompile.compile(classifier.model, example_inputs=examples)


def _classify(
    console: Console, classifier: Classifier, private: PrivateModel, snippets: Sequence[Snippet], batch_size: int
) -> torch.Tensor:
    """Return the logits of private calls, one per batch, with a progress bar."""
    import torch

    answers = []
    with _progress(console) as progress:
        task = progress.add_task("classifying", total=len(snippets), note="")
        for start in range(0, len(snippets), batch_size):
            batch = classifier.encode([snippet.text for snippet in snippets[start : start + batch_size]])
            answers.append(private(**batch).logits)
            profile = private.last_profile()
            progress.update(task, advance=batch_size, note=f"{profile.online_seconds:.2f} s online a batch")
    return torch.cat(answers)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TextColumn("{task.fields[note]}"), console=console)


def _accuracy(logits: torch.Tensor, snippets: Sequence[Snippet]) -> float:
    """Return the share of snippets whose largest logit is their package's."""
    guesses: list[int] = logits.argmax(dim=1).tolist()
    right = sum(guess == snippet.label for guess, snippet in zip(guesses, snippets, strict=True))
    return right / len(snippets)


def _compare(
    snippets: Sequence[Snippet],
    expected: torch.Tensor,
    answers: torch.Tensor,
    training_seconds: float,
    private_seconds: float,
) -> DemoResult:
    """Compare private logits with plaintext ones."""
    return DemoResult(
        snippets=len(snippets),
        plaintext_accuracy=_accuracy(expected, snippets),
        private_accuracy=_accuracy(answers, snippets),
        agreement=(expected.argmax(dim=1) == answers.argmax(dim=1)).double().mean().item(),
        largest_difference=(expected - answers).abs().max().item(),
        training_seconds=training_seconds,
        private_seconds=private_seconds,
    )


def _comparison(result: DemoResult) -> Table:
    """Return plaintext and private side by side."""
    table = Table(title=f"{result.snippets} held-out snippets")
    table.add_column("")
    table.add_column("plaintext", justify="right")
    table.add_column("private", justify="right")
    table.add_row("accuracy", f"{result.plaintext_accuracy:.1%}", f"{result.private_accuracy:.1%}")
    table.add_section()
    table.add_row("same answer", "", f"{result.agreement:.1%}")
    table.add_row("largest difference of a logit", "", f"{result.largest_difference:.1e}")
    table.add_row("seconds per snippet, offline included", "", f"{result.private_seconds / result.snippets:.2f}")
    return table


def _shown(classes: Sequence[str], snippet: Snippet, expected: torch.Tensor, answer: torch.Tensor) -> Panel:
    """Return a snippet with both predictions."""
    lines = snippet.text.splitlines()[:SHOWN_LINES]
    answers = [
        f"{name} {classes[int(logits.argmax())]} ({logits.softmax(dim=0).max().item():.0%})"
        for name, logits in (("plaintext", expected), ("private", answer))
    ]
    code = Syntax("\n".join(lines), "python", background_color="default")
    return Panel(
        Group(code, Text(f"... {', '.join(answers)}", style="bold")),
        title=f"from {snippet.file}",
        title_align="left",
    )
