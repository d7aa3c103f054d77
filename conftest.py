"""Settings of all tests and doctests."""

import os
import tempfile
from collections.abc import Iterator

import pytest
import torch

LONGEST = (
    "test_app_photographs.py", "test_training.py", "test_actions.py", "test_app_browser.py",
    "test_photographs.py", "test_devices.py", "test_app.py", "test_report.py", "test_starting.py",
    "test_model.py", "test_docs.py", "test_cli.py", "test_disentanglement.py", "test_inpainting.py",
    "test_fields.py", "test_bijectors.py", "test_meaning.py", "test_resume.py", "test_patches.py",
    "test_inpaint_command.py", "test_app_requests.py", "test_field_figures.py",
    "test_experiments.py", "test_pretrained.py", "test_particles.py",
)  # fmt: skip
"""Files of tests that take longest come first, lest one process be left with them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put these files first."""
    places = {name: k for k, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(scope="session", autouse=True)
def _own_cache() -> Iterator[None]:
    """Tests leave the user's cache of data sets alone, and see the package's models only."""
    for name in ("RGFLOW_MODELS", "RGFLOW_HUB"):
        os.environ.pop(name, None)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)  # nothing here has to outlast a power cut
        os.environ["RGFLOW_CACHE"] = folder
        # Fixtures of a module come before those of its tests.
        torch.set_num_threads(1)
        yield


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
    # The flows of tests are so small that threads only wait for one another.
    torch.set_num_threads(1)
