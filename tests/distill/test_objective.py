"""Batches and metrics count each row once."""

from __future__ import annotations

import pytest
import torch

from mpccompile.data.table import Table
from mpccompile.distill.objective import Batch, Metric, batches


def test_the_last_batch_repeats_rows_that_do_not_count():
    table = Table({"x": torch.arange(5)}, torch.arange(5))
    found = list(batches(table, torch.tensor([4, 3, 2, 1, 0]), 3))
    assert [batch.table.inputs["x"].tolist() for batch in found] == [[4, 3, 2], [1, 0, 1]]
    assert [batch.rows.tolist() for batch in found] == [[True] * 3, [True, True, False]]
    assert [batch.count for batch in found] == [3, 2]
    (alone,) = batches(table, torch.tensor([2]), 4)
    assert alone.table.labels.tolist() == [2, 2, 2, 2]


def batch(labels, count):
    rows = torch.arange(len(labels)) < count
    return Batch(Table({"x": torch.zeros(len(labels))}, labels), rows, count)


def test_accuracy_counts_what_counts():
    metric = Metric(regression=False)
    assert metric.value() is None
    logits = torch.eye(3)
    metric.add(logits, batch(torch.tensor([0, 1, 0]), 3))
    metric.add(logits, batch(torch.tensor([0, 0, 0]), 1))
    metric.add(logits, batch(torch.tensor([-100, 1, 0]), 2))
    assert metric.value() == 4 / 5


def test_numbers_are_correlated():
    metric = Metric(regression=True)
    metric.add(torch.tensor([[1.0], [2.0], [9.0]]), batch(torch.tensor([2.0, 4.0, 0.0]), 2))
    assert metric.value() == pytest.approx(1.0)
    metric.add(torch.tensor([[3.0], [0.0], [0.0]]), batch(torch.tensor([0.0, 0.0, 0.0]), 1))
    expected = torch.corrcoef(torch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 0.0]]))[0, 1]
    assert metric.value() == pytest.approx(float(expected))


def test_what_does_not_vary_has_no_correlation():
    metric = Metric(regression=True)
    metric.add(torch.ones(2, 1), batch(torch.tensor([1.0, 2.0]), 2))
    assert metric.value() == 0.0
