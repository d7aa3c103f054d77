"""The panels of the page of latents."""

from collections.abc import Iterable

from rgflow.app.panel import Panel
from rgflow.app.panels.latents import Latents
from rgflow.app.panels.mixing import Mix
from rgflow.app.panels.repair import Repair
from rgflow.app.panels.sample import Sample
from rgflow.kinds import imported_class

PANELS: dict[str, type[Panel]] = {one.title: one for one in (Sample, Latents, Mix, Repair)}
"""By title, in the order of the page."""


def panels(paths: Iterable[str] = ()) -> list[Panel]:
    """All panels of the page.

    Args:
        paths: Import paths of panels of your own, which come last.

    Raises:
        ValueError: If one hasn't been imported (`rgflow.kinds.trust` does), isn't a panel, or
            has the title of another.
    """
    found = dict(PANELS)
    for path in paths:
        panel = imported_class("panel", path, PANELS, Panel)
        title = getattr(panel, "title", "")
        if not title or title in found:
            raise ValueError(
                f"Expected the panel {path} to have a title besides {', '.join(found)}; got "
                f"{title!r}."
            )
        found[title] = panel
    return [panel() for panel in found.values()]
