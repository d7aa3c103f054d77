"""Settings of all tests and doctests."""

import os
import tempfile
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _own_cache() -> Iterator[None]:
    """Tests leave the user's cache of data sets alone."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RGFLOW_CACHE"] = folder
        # Fixtures of a module come before those of its tests.
        torch.set_num_threads(1)
        yield


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
    # The flows of tests are so small that threads only wait for one another.
    torch.set_num_threads(1)
