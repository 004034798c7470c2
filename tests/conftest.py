"""What every test has: the same random state, few threads, no network, and no CUDA test without a CUDA device."""

from __future__ import annotations

import os

# Before transformers is imported: a test that needs a download is a test that fails elsewhere.
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked ``cuda`` where there is no CUDA device."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("cuda"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session", autouse=True)
def few_threads():
    """Tiny models are slower on many threads, and parties compute in processes of their own."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(2, before))
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def same_random_numbers():
    """Give every test the same random numbers, whichever tests ran before it."""
    torch.manual_seed(0)
