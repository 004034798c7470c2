"""A tiny BERT that ran once with its timeline, and beside plaintext."""

from __future__ import annotations

import pytest

import mpccompile
from mpccompile.report.profiling.breakdown import breakdown
from tests import models


@pytest.fixture(scope="session")
def profiled():
    """Return the package and the profile."""
    model, inputs = models.bert()
    with mpccompile.compile(model, example_inputs=inputs) as compiled:
        profile = compiled.profile(**inputs, against=("plaintext",), repeat=1, timeline=True)
        yield compiled.packages[0], profile


@pytest.fixture(scope="session")
def measured(profiled):
    """Return the breakdown of the profile."""
    return breakdown(*profiled)
