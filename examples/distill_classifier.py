"""Distil a Transformer whose GELU and softmax are quadratics, and see what distillation is worth.

Two tasks on data that every machine has: which package of Python's standard library a snippet of code is from (a BERT
of 4 layers and 256 numbers a token), and which digit an 8 by 8 picture of scikit-learn shows (a ViT of 4 layers).

Run it with: python examples/distill_classifier.py --task digits --seeds 3
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from torch import Tensor, nn

import mpccompile
from mpccompile import DistillationConfig, Stage
from mpccompile.demo.classifier import Size, encode, train_classifier
from mpccompile.demo.snippets import Snippet, build_snippets
from mpccompile.distill import Ablations, Plan, ablate
from mpccompile.distill.ablations import FULL, Outcome
from mpccompile.evaluation.table import table

if TYPE_CHECKING:
    from mpccompile.evaluation.evaluate import Evaluation

Columns = dict[str, Tensor]
PRIVATE_ROWS = 16
"""Rows of one private call."""
CALIBRATION_ROWS = 2048
WAYS = ("plaintext", "approximated", "private")


@dataclass(frozen=True)
class Task:
    """A trained teacher and its data.

    Attributes:
        teacher: The model, in evaluation mode.
        train: Inputs and labels to train on.
        test: Inputs and labels to report on.
        batch_size: Rows of a training step.
        config: A recipe that is enough for the task; MPCFormer's learning rates are for pretrained models.
    """

    teacher: nn.Module
    train: Columns
    test: Columns
    batch_size: int
    config: DistillationConfig


def snippets_task(*, quick: bool, epochs: int | None) -> Task:
    """Return the classifier of snippets; its test data is from files that it was not trained on."""
    data = build_snippets()
    size = Size(hidden=32, layers=2) if quick else Size(hidden=256, layers=4)
    trained = train_classifier(data, steps=5 if quick else 150, size=size)

    def columns(snippets: tuple[Snippet, ...]) -> Columns:
        labels = torch.tensor([snippet.label for snippet in snippets])
        return {**encode(trained.tokenizer, [snippet.text for snippet in snippets]), "labels": labels}

    # A quarter of the snippets, which overlap: all of them would take four times as long.
    train, test = (data.train[:96], data.test[:64]) if quick else (data.train[:2048], data.test)
    config = DistillationConfig(
        layers=Stage(epochs or (1 if quick else 6), 5e-4, "linear", 0.1),
        logits=Stage(1 if quick else 4, 2e-4, "linear", 0.1),
    )
    return Task(trained.model, columns(train), columns(test), 32, config)


def digits_task(*, quick: bool, epochs: int | None) -> Task:
    """Return the classifier of digits; its teacher is trained here, on labels alone."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise SystemExit("the digits are scikit-learn's: pip install scikit-learn") from error
    from transformers import ViTConfig, ViTForImageClassification

    found = load_digits()
    order = torch.randperm(len(found.target), generator=torch.Generator().manual_seed(0))
    pixels = torch.tensor(found.images, dtype=torch.float32)[order].unsqueeze(1) / 8 - 1
    labels = torch.tensor(found.target)[order]
    held, rows = (64, 192) if quick else (500, len(labels))
    test = {"pixel_values": pixels[:held], "labels": labels[:held]}
    train = {"pixel_values": pixels[held:rows], "labels": labels[held:rows]}

    torch.manual_seed(0)
    shape = ViTConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2 if quick else 4,
        num_attention_heads=4,
        image_size=8,
        patch_size=2,
        num_channels=1,
    )
    shape.num_labels = 10
    model = ViTForImageClassification(shape).eval()
    learn = DistillationConfig(layers=None, logits=None, labels=Stage(2 if quick else 40, 2e-3, "linear", 0.1))
    program = mpccompile.program(model, {"pixel_values": train["pixel_values"][:64]})
    mpccompile.distill(None, program, train, config=learn).load_into(model)
    config = DistillationConfig(
        layers=Stage(epochs or (1 if quick else 20), 2e-3, "linear", 0.1),
        logits=Stage(1 if quick else 10, 5e-4, "linear", 0.1),
    )
    return Task(model, train, test, 64, config)


TASKS: dict[str, Callable[..., Task]] = {"digits": digits_task, "snippets": snippets_task}


def run(
    task: Task,
    seeds: int,
    folder: Path | None = None,
    keep: Callable[[Outcome, mpccompile.Distilled], None] | None = None,
    **approximations: Any,
) -> Ablations:
    """Distil the task's teacher with each seed, and train the same student without distillation."""
    example = {name: column[: task.batch_size] for name, column in task.train.items() if name != "labels"}
    return ablate(
        task.teacher,
        lambda model: mpccompile.program(model, example, **approximations),
        task.train,
        task.test,
        config=task.config,
        plan=Plan(("full", "w/o d"), tuple(range(seeds)), folder),
        keep=keep,
    )


def privately(task: Task, student: mpccompile.Distilled, limit: int, **approximations: Any) -> Evaluation:
    """Compile the task's model with a student's weights, and classify test rows on secret shares."""
    model = student.load_into(copy.deepcopy(task.teacher))
    rows = {name: column for name, column in task.train.items() if name != "labels"}
    examples = [
        {name: column[start : start + PRIVATE_ROWS] for name, column in rows.items()}
        for start in range(0, min(CALIBRATION_ROWS, len(task.train["labels"])) - PRIVATE_ROWS + 1, PRIVATE_ROWS)
    ]
    with mpccompile.compile(model, example_inputs=examples, **approximations) as private:
        return mpccompile.evaluate(private, task.test, limit=limit, ways=WAYS)


def main(arguments: list[str] | None = None) -> Ablations:
    """Train a teacher, distil it, print the accuracies, and return them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--task", choices=sorted(TASKS), default="digits")
    parser.add_argument("--seeds", type=int, default=3, help="how many students to train each way")
    parser.add_argument("--epochs", type=int, default=None, help="epochs of the first stage")
    parser.add_argument("--quick", action="store_true", help="smaller models, less training: only to see it run")
    parser.add_argument("--gelu", default="quad")
    parser.add_argument("--softmax", default="2quad")
    parser.add_argument("--private", type=int, default=256, help="test rows to run privately with each full student")
    parser.add_argument("--folder", type=Path, default=None, help="keep checkpoints, logs and ablations.csv here")
    given = parser.parse_args(arguments)
    task = TASKS[given.task](quick=given.quick, epochs=given.epochs)
    approximations = {"gelu": given.gelu, "softmax": given.softmax}
    show = Console().print

    def keep(outcome: Outcome, student: mpccompile.Distilled) -> None:
        if outcome.arm == FULL and given.private:
            show(f"the full student of seed {outcome.seed}:")
            show(table(privately(task, student, given.private, **approximations)))

    found = run(task, given.seeds, given.folder, keep, **approximations)
    show(found.table())
    return found


if __name__ == "__main__":
    main()
