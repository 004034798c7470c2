from __future__ import annotations

import pytest
import torch

from mpccompile.errors import InputError
from mpccompile.evaluation.score import Answers, class_scores, forecast, score

LABELS = torch.tensor([0, 1, 1, 0])


def answers(rows, answered=(True, True, True, True), seconds=2.0, refusals=None):
    return Answers(torch.tensor(rows), torch.tensor(answered), seconds, refusals or {})


PLAIN = answers([[2.0, 1.0], [0.0, 3.0], [1.0, 0.5], [1.0, 0.0]])


def test_an_example_without_an_answer_is_wrong_and_hidden_from_no_count():
    refused = answers([[2.1, 1.0], [0.0, 3.0], [1.0, 1.2], [0.0, 0.0]], (True, True, True, False), refusals={"gelu": 1})
    found = score("private", refused, LABELS, PLAIN, None)
    assert found.accuracy.value == 0.75
    assert found.agreement.value == 0.5
    assert found.unanswered == 1
    assert found.refusals == {"gelu": 1}
    assert found.largest_error == pytest.approx(0.7)
    assert found.mean_error.value == pytest.approx(0.8 / 3)
    assert found.seconds == 0.5
    assert found.approximated_agreement is None


def test_plaintext_is_compared_with_nothing():
    found = score("plaintext", PLAIN, LABELS, None, None)
    assert (found.agreement, found.mean_error, found.largest_error) == (None, None, None)
    assert found.accuracy.value == 0.75


def test_the_approximated_model_is_a_second_reference():
    approximated = answers([[2.0, 1.0], [0.0, 3.0], [1.0, 1.5], [1.0, 0.0]])
    found = score("private", approximated, LABELS, PLAIN, approximated)
    assert found.agreement.value == 0.75
    assert found.approximated_agreement.value == 1.0
    assert found.approximated_error == 0.0


def test_no_answer_at_all_has_no_error():
    nothing = answers([[0.0]] * 4, (False,) * 4)
    found = score("private", nothing, LABELS, PLAIN, None)
    assert (found.accuracy.value, found.mean_error, found.unanswered) == (0.0, None, 4)


def test_a_forecast_is_of_what_both_answered():
    simulated = answers([[2.0, 1.0], [0.0, 3.0], [1.0, 1.5], [1.0, 0.0]], (True, True, True, False))
    found = forecast(simulated, PLAIN)
    assert (found.examples, found.same, found.largest_difference) == (3, 2, 1.0)


def test_class_scores_are_the_logits_or_the_first_output():
    first, logits = torch.zeros(2, 3), torch.ones(2, 3)
    assert class_scores({"loss": first, "logits": logits}, 2) is logits
    assert class_scores({"a": first, "b": logits}, 2) is first
    with pytest.raises(InputError, match="no score for each class"):
        class_scores({"logits": torch.zeros(2, 3, 4)}, 2)
