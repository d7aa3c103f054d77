"""The four panels beside the current image."""

from collections.abc import Callable

from rgflow.app.page import Page
from rgflow.app.panels.latents import latents
from rgflow.app.panels.mixing import mixing
from rgflow.app.panels.repair import repair
from rgflow.app.panels.sample import sample

PANELS: dict[str, Callable[[Page], None]] = {
    "Sample": sample,
    "Latents": latents,
    "Mix": mixing,
    "Repair": repair,
}
"""By title, in the order of the page."""
