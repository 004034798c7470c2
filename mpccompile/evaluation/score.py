"""What one way of running a model answered, and how good that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mpccompile.errors import InputError
from mpccompile.evaluation.statistics import Estimate, mean, proportion

SCORES_DIMS = 2


@dataclass(frozen=True)
class Answers:
    """The class scores of every example.

    Attributes:
        scores: float32 [examples, classes]; what stands in a row without an answer means nothing.
        answered: bool [examples]: False where the call of the example's batch was refused.
        seconds: Wall time of all calls.
        refusals: What the refused calls said, once each, with the number of examples concerned.
    """

    scores: Tensor
    answered: Tensor
    seconds: float
    refusals: Mapping[str, int]

    @property
    def classes(self) -> Tensor:
        """The class answered, int64 [examples]; -1 where there is no answer."""
        return torch.where(self.answered, self.scores.argmax(-1), -1)


@dataclass(frozen=True)
class Score:
    """How one way of running the model does on the test set.

    An example without an answer counts as wrong and as no agreement; errors are of those with one. An example's error
    is the largest absolute difference of one of its scores.

    Attributes:
        name: Which way.
        accuracy: Share of examples whose label has the largest score.
        agreement: Share of examples with the same answer as plaintext; None for plaintext itself.
        approximated_agreement: The same against the approximated model in float32; None where there is none.
        mean_error: Mean error against plaintext.
        largest_error: Largest error against plaintext.
        approximated_error: Largest error against the approximated model.
        unanswered: Examples without an answer, because their call was refused.
        refusals: Why, with the number of examples each.
        seconds: Wall time per example, the offline phase included.
    """

    name: str
    accuracy: Estimate
    agreement: Estimate | None
    approximated_agreement: Estimate | None
    mean_error: Estimate | None
    largest_error: float | None
    approximated_error: float | None
    unanswered: int
    refusals: Mapping[str, int]
    seconds: float


def score(name: str, answers: Answers, labels: Tensor, plain: Answers | None, approximated: Answers | None) -> Score:
    """Judge the answers of one way.

    Args:
        name: Which way.
        answers: What it answered.
        labels: int64 [examples].
        plain: What plaintext answered; None for plaintext itself, or where it was not run.
        approximated: What the approximated model answered; None for itself, or where there is none.
    """
    errors = None if plain is None else _errors(answers, plain)
    close = None if approximated is None else _errors(answers, approximated)
    return Score(
        name,
        _share(answers.classes == labels),
        None if plain is None else _share(answers.classes == plain.classes),
        None if approximated is None else _share(answers.classes == approximated.classes),
        mean(errors) if errors is not None and errors.numel() else None,
        float(errors.max()) if errors is not None and errors.numel() else None,
        float(close.max()) if close is not None and close.numel() else None,
        int((~answers.answered).sum()),
        answers.refusals,
        answers.seconds / len(labels),
    )


def _share(hits: Tensor) -> Estimate:
    return proportion(int(hits.sum()), hits.numel())


def _errors(one: Answers, other: Answers) -> Tensor:
    both = one.answered & other.answered
    return (one.scores[both] - other.scores[both]).abs().amax(-1)


@dataclass(frozen=True)
class Forecast:
    """How well the simulation foretold the private run, over the examples that both answered.

    Attributes:
        examples: How many those are.
        same: How many of them got the same class from both.
        largest_difference: Largest difference of a score.
    """

    examples: int
    same: int
    largest_difference: float


def forecast(simulated: Answers, private: Answers) -> Forecast:
    """Compare the simulation with the private run."""
    both = simulated.answered & private.answered
    errors = _errors(simulated, private)
    same = int((simulated.classes == private.classes)[both].sum())
    return Forecast(int(both.sum()), same, float(errors.max()) if errors.numel() else 0.0)


def class_scores(outputs: Mapping[str, Tensor], rows: int) -> Tensor:
    """Return the output that holds class scores, [rows, classes]: ``logits``, or the first.

    Raises:
        InputError: If it has another shape.
    """
    name = "logits" if "logits" in outputs else next(iter(outputs))
    value = outputs[name]
    if value.dim() != SCORES_DIMS or value.shape[0] != rows:
        raise InputError(
            f"the output {name} has shape {list(value.shape)}, which is no score for each class of {rows} examples",
            hint="Only classifiers can be evaluated: their first output is [examples, classes].",
        )
    return value
