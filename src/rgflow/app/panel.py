"""What a panel of the page of latents is: a tab beside the current image."""

import re
from collections.abc import Mapping
from typing import ClassVar

from rgflow.app import views
from rgflow.app.page import Page
from rgflow.app.workspace import Workspace


class Panel:
    """A panel: it has a tab, which shows its components, and may draw over the current image.

    A subclass sets `title`, and its method `build` makes the components.

    Attributes:
        title: The words of the tab.
        help: One sentence about the panel.
        opening: What is under way while it opens, if that may take long.
        hints: One sentence about each of its components, by `elem_id`; # stands for any number.
    """

    title: ClassVar[str]
    help: ClassVar[str] = ""
    opening: ClassVar[str] = ""
    hints: ClassVar[Mapping[str, str]] = {}

    @property
    def elem_id(self) -> str:
        """The identifier of its tab in the page."""
        return "tab-" + re.sub(r"\W+", "-", self.title.lower())

    def build(self, page: Page) -> None:
        """Make the components, and connect their events by `page.on` and `page.show`."""
        raise NotImplementedError

    def drawn(self, work: Workspace) -> str:
        """The current image as `canvas.js` draws it while the panel is open."""
        return views.canvas(work)

    def legend(self, work: Workspace) -> str:
        """What the marks over the image mean, as HTML."""
        return ""
